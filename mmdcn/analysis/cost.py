"""Count the multiplications of a model, and measure its time and memory."""

import os
import re
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

ELSEWHERE = 'elsewhere'  # operators of the model itself, outside of its children
CHOOSING = ('selector', 'grid')  # parts that usually multiply nothing
SHORT = 0.05  # seconds


def _rnn(args: Sequence[Any], out: Any) -> int:
    """Count a recurrent layer (steps, batch, features): each weight meets each step's vector."""
    weights = args[1] if isinstance(args[1], (list, tuple)) else args[1:3]
    matrices = sum(weight.numel() for weight in weights if weight.dim() > 1)
    return args[0].size(0) * args[0].size(1) * matrices


# What torch has no formula for: operator -> multiplications, from its arguments and its result.
_MULTIPLICATIONS: dict[str, Callable[[Sequence[Any], Any], int]] = {
    'aten::mv': lambda args, out: args[0].numel(),
    'aten::addmv': lambda args, out: args[1].numel(),
    'aten::dot': lambda args, out: args[0].numel(),
    'aten::_scaled_dot_product_flash_attention_for_cpu': lambda args, out: (
        sdpa_flop_count(*(each.shape for each in args[:3])) // 2
    ),
    'aten::_scaled_dot_product_flash_attention_for_cpu_backward': lambda args, out: (
        sdpa_backward_flop_count(*(each.shape for each in args[:4])) // 2
    ),
    'aten::mkldnn_rnn_layer': _rnn,
    'aten::_cudnn_rnn': _rnn,
    # The sampling in front of the convolution is interpolation, which counts nowhere.
    'torchvision::deform_conv2d': lambda args, out: out.numel() * args[1][0].numel(),
}
# Names of operators that multiply, and those of them that only weigh or move elements.
_MULTIPLIES = re.compile(
    r'attention|transformer|rnn|lstm|gru|convolution|conv\d|conv_|m[mv]$|vdot|matmul|linear|linalg'
    r'|cdist|euclidean|fft|tensordot|(?<!re)solve|inverse|cholesky|matrix|addbmm'
)
_WEIGHS = re.compile(
    r'upsample|vector_norm|_thnn_fused|powsum|cross|diagonal|check_errors|fftshift|fftfreq|reorder'
)


def count_multiplications(model: nn.Module, images: torch.Tensor, **inputs: Any) -> int:
    """Count the multiplications of one real forward pass; see :func:`multiplications_by_part`.

    Args:
        model: Called as ``model(images, **inputs)``.
        images: (N, C, H, W).
        **inputs: Other inputs of the model, such as ``data_samples``.

    Returns:
        int: Multiplications for all N images.
    """
    return sum(multiplications_by_part(model, images, **inputs).values())


def multiplications_by_part(
    model: nn.Module, images: torch.Tensor, **inputs: Any
) -> dict[str, int]:
    """Count the multiplications of one real forward pass in evaluation mode, part by part.

    Multiplications are counted while torch executes convolutions and matrix products, including the
    backward pass of a saliency. Attention and recurrent layers count as the products that they are
    made of. Biases, batch norm, activations, interpolation and elementwise products do not count.
    An ``einsum`` that sums over nothing counts.

    A part is a direct child of the model. The head of a DCN counts as two parts:
    ``'head on coarse'`` is what its layers (or those of the saliency's own head) compute inside of
    the saliency, and ``'head on refined'`` what they compute outside. ``'saliency'`` is everything
    else inside of the saliency: the gradient through the head, by autograd or in closed form.

    Args:
        model: Called as ``model(images, **inputs)``.
        images: (N, C, H, W).
        **inputs: Other inputs of the model, such as ``data_samples``.

    Returns:
        dict: Part -> multiplications for all N images, in the order in which the parts finish. The
        selector, the grid and ``'elsewhere'`` (operators of the model itself) are left out if they
        multiply nothing.

    Raises:
        ValueError: An operator multiplies, and no formula for it is known.
    """
    model.eval()
    with torch.no_grad(), counting(model) as parts:
        model(images, **inputs)
    return parts


@contextmanager
def counting(model: nn.Module) -> Iterator[dict[str, int]]:
    """Count the multiplications of a model inside of a ``with`` block, in this thread alone.

    Other threads may use the model meanwhile.

    Yields:
        dict: The result of :func:`multiplications_by_part`, filled when the block ends.
    """
    counter = _FlopCounter()
    parts: dict[str, int] = {}
    with _parts_told(model, counter), _OuterProducts(counter), counter:
        yield parts
    parts.update(
        (part, flops // 2)
        for part, flops in counter.flops.items()  # a FLOP count has one addition per multiplication
        if flops or part not in (*CHOOSING, ELSEWHERE)
    )
    for part, child in model.named_children():
        if part != 'head' and any(True for _ in child.parameters()):
            parts.setdefault(part, 0)  # it did not run, like a fine tower on no patches


def with_full_budgets(model: Any) -> nn.Module:
    """Make an adaptive DCN give each image its largest number of patches, in place.

    The budgets that untrained weights would give are meaningless.
    """
    if is_adaptive(model):
        model.selector = model.selector.with_budget(model.selector.k)
    return model


def is_adaptive(model: nn.Module) -> bool:
    """Return whether a model's selector may give images different numbers of patches."""
    return getattr(getattr(model, 'selector', None), 'adaptive', False)


def interleaved_times(
    runs: dict[str, Callable[[], object]], rounds: int = 20, warm_up: int = 3
) -> dict[str, list[float]]:
    """Time several functions in turn; see :func:`interleaved_runs`.

    Returns:
        dict: Name -> ``rounds`` durations in seconds.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name, duration, _ in interleaved_runs(runs, rounds, warm_up):
        times[name].append(duration)
    return times


def interleaved_runs(
    runs: dict[str, Callable[[], Any]], rounds: int = 20, warm_up: int = 3
) -> Iterator[tuple[str, float, Any]]:
    """Run several functions in turn, so that a disturbance of the machine affects all alike.

    A function that takes less than :data:`SHORT` runs twice in its turn, and the second counts: the
    first finds the processor's caches full of the other functions' data. On a GPU, the time is
    measured between two events on its stream.

    Args:
        runs: Name -> function to run.
        rounds: Measurements per function.
        warm_up: Number of first rounds that are not measured.

    Yields:
        tuple: The name, the duration in seconds and the result of each run that counts.
    """
    timed = _timed_on_gpu if torch.cuda.is_available() else _timed
    for index in range(warm_up + rounds):
        for name, run in runs.items():
            duration, result = timed(run)
            if duration < SHORT:
                duration, result = timed(run)
            if index >= warm_up:
                yield name, duration, result


def peak_memory(run: Callable[[], object], device: str = 'cpu') -> int:
    """Measure the peak memory of the tensors of ``run``, in bytes, without earlier tensors.

    On the CPU, torch's profiler adds up what the allocator gives and takes back.
    """
    if device != 'cpu':
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # else the profiler prints lines about itself
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Warning: Profiler clears events')
        with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as profiler:
            run()
    changes = sorted(
        (event.start_ns(), event.nbytes())
        for event in profiler.profiler.kineto_results.events()
        if event.name() == '[memory]'
    )
    return max(accumulate((size for _, size in changes), initial=0))


class _FlopCounter(TorchDispatchMode):
    """Sums torch's FLOP formulas over all executed operators, for each part that runs.

    ``FlopCounterMode`` does the same per module, but its module tracker fails on a backward pass
    inside of a forward pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self.running = [ELSEWHERE]  # parts, the innermost last
        self.flops = OrderedDict({ELSEWHERE: 0})

    def enter(self, part: str) -> None:
        self.running.append(part)
        self.flops.setdefault(part, 0)

    def leave(self) -> None:
        self.flops.move_to_end(self.running.pop())

    def add(self, flops: int) -> None:
        self.flops[self.running[-1]] += flops

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.rstrip('_')  # in place, an operator multiplies as often
        library, _, short = name.partition('::')
        operator = getattr(getattr(torch.ops, library), short, None)
        if operator in flop_registry:
            out = func(*args, **kwargs)
            self.add(flop_registry[operator](*args, **kwargs, out_val=out))
            return out
        if name not in _MULTIPLICATIONS:
            with self:  # in inference mode, composite operators arrive undivided
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
            _refuse_unknown(library, short)
        out = func(*args, **kwargs)
        if name in _MULTIPLICATIONS:
            self.add(2 * _MULTIPLICATIONS[name](args, out))
        return out


def _refuse_unknown(library: str, operator: str) -> None:
    """Raise an error if an operator without a formula may multiply."""
    if library in ('aten', 'prim', 'prims', 'profiler', 'c10d', 'torchvision') and (
        not _MULTIPLIES.search(operator) or _WEIGHS.search(operator)
    ):
        return
    raise ValueError(
        f'The multiplications of the operator {library}::{operator} cannot be counted: no formula '
        'is known for it. Give one to torch.utils.flop_counter.register_flop_formula, or build '
        'the layer from convolutions and matrix products.'
    )


class _OuterProducts(TorchFunctionMode):
    """Counts each ``einsum`` that sums over nothing, which torch runs as a plain product.

    A function mode also keeps ``nn.MultiheadAttention`` and its like from their fast path, whose
    fused operators have no formulas.
    """

    def __init__(self, counter: _FlopCounter):
        super().__init__()
        self.counter = counter

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.einsum:
            inputs, _, output = args[0].partition('->')
            if ',' in inputs and set(inputs) - {','} <= set(output):
                self.counter.add(2 * out.numel())
        return out


@contextmanager
def _parts_told(model: nn.Module, counter: _FlopCounter) -> Iterator[None]:
    """Tell the counter which part is running in this thread.

    The layers have hooks too, because a head's ``entropy`` may call them without the head's own
    forward.
    """
    part_of = {module: name for name, child in model.named_children() for module in child.modules()}
    saliency = getattr(model, 'saliency', None)
    if isinstance(saliency, nn.Module):
        part_of.update(
            (module, 'head')
            for path, module in saliency.named_modules()
            if 'head' in path.split('.')
        )

    thread = threading.get_ident()

    def enter(module: nn.Module, _: Any) -> None:
        if threading.get_ident() != thread:
            return
        part = part_of[module]
        if part == 'head' and saliency is not None:
            part += ' on coarse' if 'saliency' in counter.running else ' on refined'
        counter.enter(part)

    def leave(*_: Any) -> None:
        if threading.get_ident() == thread:
            counter.leave()

    hooks = [
        hook
        for module in part_of
        for hook in (
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave, always_call=True),
        )
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def _timed_on_gpu(run: Callable[[], Any]) -> tuple[float, Any]:
    torch.cuda.synchronize()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    result = run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000, result  # milliseconds to seconds
