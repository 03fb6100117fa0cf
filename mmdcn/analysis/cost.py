"""What a model costs: multiplications counted, time measured."""

import os
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mmdcn.models.selectors.adaptive import AdaptiveSelector
from mmdcn.models.selectors.top_k import TopKSelector

ELSEWHERE = 'elsewhere'  # a model's own operators, outside of its children
CHOOSING = ('selector', 'patch_extractor')  # parts that are not there to multiply

# Products with a vector, which torch has no formula for; the position of the matrix.
_VECTOR_PRODUCTS = {torch.ops.aten.mv: 0, torch.ops.aten.addmv: 1, torch.ops.aten.dot: 0}


def count_multiplications(model: nn.Module, images: torch.Tensor, **inputs) -> int:
    """Count the multiplications of one real forward pass, as :func:`multiplications_by_part`.

    Args:
        model: Called as ``model(images, **inputs)``.
        images: (N, C, H, W).
        **inputs: What else it needs, such as ``data_samples``.

    Returns:
        int: Multiplications for all N images.
    """
    return sum(multiplications_by_part(model, images, **inputs).values())


def multiplications_by_part(model: nn.Module, images: torch.Tensor, **inputs) -> dict[str, int]:
    """Count the multiplications of one real forward pass in evaluation mode, part by part.

    Counted where torch executes them, in convolutions and matrix products, a saliency's
    backward pass included; biases, batch norm, activations and products element by element
    are left out; an ``einsum`` that sums over nothing counts.

    A part is a direct child of the model. A DCN's head is two: ``'head on coarse'`` is what its
    layers (or those of the saliency's own head) compute inside of the saliency,
    ``'head on refined'`` what they compute outside. ``'saliency'`` is all else inside of
    the saliency: the way back through the head, be it autograd's or a closed form.

    Args:
        model: Called as ``model(images, **inputs)``.
        images: (N, C, H, W).
        **inputs: What else it needs, such as ``data_samples``.

    Returns:
        dict: Part -> multiplications for all N images, in the order in which the parts end. A
        selector, a patch extractor and ``'elsewhere'``, the model's own operators, are left
        out where they multiply nothing.
    """
    model.eval()
    with torch.no_grad(), counting(model) as parts:
        model(images, **inputs)
    return parts


@contextmanager
def counting(model: nn.Module) -> Iterator[dict[str, int]]:
    """Count what a model multiplies while the context lasts.

    Yields:
        dict: Filled when the context is left, as :func:`multiplications_by_part` gives it.
    """
    counter, parts = _FlopCounter(), {}
    with _parts_told(model, counter), _OuterProducts(counter), counter:
        yield parts
    parts.update(
        (part, flops // 2)
        for part, flops in counter.flops.items()  # an addition each
        if flops or part not in (*CHOOSING, ELSEWHERE)
    )


def with_full_budgets(model: nn.Module) -> nn.Module:
    """Let a DCN with an adaptive selector look at as many patches as an image can get, in place.

    What untrained weights make of a budget says nothing.
    """
    selector = getattr(model, 'selector', None)
    if isinstance(selector, AdaptiveSelector):
        model.selector = TopKSelector(k=selector.k)
    return model


def interleaved_times(
    runs: dict[str, Callable[[], object]], rounds: int = 20, warm_up: int = 3
) -> dict[str, list[float]]:
    """Time several things in turn, so that whatever disturbs the machine disturbs all.

    On a GPU the time is that between two events on its stream.

    Args:
        runs: Name -> what to run.
        rounds: Measurements of each.
        warm_up: Rounds that are run first and not measured.

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
    """The most bytes of tensors that ``run`` had at a time, beyond what was there before.

    On the CPU torch's profiler adds up what its allocator gives and takes back.
    """
    if device != 'cpu':
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # or it reports on itself, line by line
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
    """Adds up torch's own FLOP formulas over the operators executed, by the part that runs.

    ``FlopCounterMode`` does the same by module, but its module tracker can't stand a backward
    pass inside of a forward pass.
    """

    def __init__(self):
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

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        operator = func._overloadpacket
        if operator not in flop_registry:
            with self:  # in inference mode operators come here whole
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
    """Adds each ``einsum`` that sums over nothing, which torch runs as a plain product."""

    def __init__(self, counter: _FlopCounter):
        super().__init__()
        self.counter = counter

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.einsum:
            inputs, _, output = args[0].partition('->')
            if set(inputs) - {','} <= set(output):
                self.counter.add(2 * out.numel())
        return out


@contextmanager
def _parts_told(model: nn.Module, counter: _FlopCounter) -> Iterator[None]:
    """Tell the counter which part runs.

    The hooks are on the layers too: a head's ``entropy`` need not call the head as a whole.
    """
    part_of = {module: name for name, child in model.named_children() for module in child.modules()}
    saliency = getattr(model, 'saliency', None)
    if isinstance(saliency, nn.Module):
        part_of.update(
            (module, 'head')
            for path, module in saliency.named_modules()
            if 'head' in path.split('.')
        )

    def enter(module: nn.Module, _) -> None:
        part = part_of[module]
        if part == 'head' and saliency is not None:
            part += ' on coarse' if 'saliency' in counter.running else ' on refined'
        counter.enter(part)

    def leave(*_) -> None:
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
    return start.elapsed_time(end) / 1000  # of milliseconds
