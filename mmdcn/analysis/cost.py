"""Count the multiplications of a model, and measure its time and memory."""

import os
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

ELSEWHERE = 'elsewhere'  # operators of the model itself, outside of its children
CHOOSING = ('selector', 'grid')  # parts that usually multiply nothing

# Products with a vector, for which torch has no formula -> position of the matrix argument.
_VECTOR_PRODUCTS = {torch.ops.aten.mv: 0, torch.ops.aten.addmv: 1, torch.ops.aten.dot: 0}


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
    backward pass of a saliency. Biases, batch norm, activations and elementwise products do not
    count. An ``einsum`` that sums over nothing counts.

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
    """
    model.eval()
    with torch.no_grad(), counting(model) as parts:
        model(images, **inputs)
    return parts


@contextmanager
def counting(model: nn.Module) -> Iterator[dict[str, int]]:
    """Count the multiplications of a model inside of a ``with`` block.

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
    """Time several functions in turn, so that a disturbance of the machine affects all alike.

    On a GPU, the time is measured between two events on its stream.

    Args:
        runs: Name -> function to run.
        rounds: Measurements per function.
        warm_up: Number of first rounds that are not measured.

    Returns:
        dict: Name -> ``rounds`` durations in seconds.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    timed = _timed_on_gpu if torch.cuda.is_available() else _timed
    for index in range(warm_up + rounds):
        for name, run in runs.items():
            duration = timed(run)
            if index >= warm_up:
                times[name].append(duration)
    return times


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
        operator = func._overloadpacket
        if operator not in flop_registry:
            with self:  # in inference mode, composite operators arrive undivided
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        if operator in flop_registry:
            self.add(flop_registry[operator](*args, **kwargs, out_val=out))
        elif operator in _VECTOR_PRODUCTS:
            self.add(2 * args[_VECTOR_PRODUCTS[operator]].numel())
        return out


class _OuterProducts(TorchFunctionMode):
    """Counts each ``einsum`` that sums over nothing, which torch runs as a plain product."""

    def __init__(self, counter: _FlopCounter):
        super().__init__()
        self.counter = counter

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.einsum:
            inputs, _, output = args[0].partition('->')
            if set(inputs) - {','} <= set(output):
                self.counter.add(2 * out.numel())
        return out


@contextmanager
def _parts_told(model: nn.Module, counter: _FlopCounter) -> Iterator[None]:
    """Tell the counter which part is running.

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

    def enter(module: nn.Module, _: Any) -> None:
        part = part_of[module]
        if part == 'head' and saliency is not None:
            part += ' on coarse' if 'saliency' in counter.running else ' on refined'
        counter.enter(part)

    def leave(*_: Any) -> None:
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


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _timed_on_gpu(run: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000  # milliseconds to seconds
