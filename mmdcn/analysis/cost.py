"""What a model costs: multiplications counted, time measured."""
import time
from typing import Callable, Dict, List

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


def count_multiplications(model: nn.Module, images: torch.Tensor) -> int:
    """Count the multiplications of one real forward pass in evaluation mode.

    Counted where torch executes them, in convolutions and matrix products, a saliency's
    backward pass included; biases, batch norm and activations are left out.

    Args:
        model: Called as ``model(images)``.
        images: (N, C, H, W).

    Returns:
        int: Multiplications for all N images.
    """
    model.eval()
    with torch.no_grad(), _FlopCounter() as counter:
        model(images)
    return counter.flops // 2  # an addition goes with each


def interleaved_times(runs: Dict[str, Callable[[], object]], rounds: int = 20,
                      warm_up: int = 3) -> Dict[str, List[float]]:
    """Time several things in turn, so that whatever disturbs the machine disturbs all.

    On a GPU each measurement ends when the device has finished.

    Args:
        runs: Name -> what to run.
        rounds: Measurements of each.
        warm_up: Rounds that are run first and not measured.

    Returns:
        dict: Name -> ``rounds`` durations in seconds.
    """
    times: Dict[str, List[float]] = {name: [] for name in runs}
    for index in range(warm_up + rounds):
        for name, run in runs.items():
            _wait_for_gpu()
            start = time.perf_counter()
            run()
            _wait_for_gpu()
            if index >= warm_up:
                times[name].append(time.perf_counter() - start)
    return times


class _FlopCounter(TorchDispatchMode):
    """Adds up torch's own FLOP formulas over the operators executed.

    ``FlopCounterMode`` does the same by module, but its module tracker can't stand a backward
    pass inside of a forward pass.
    """

    def __init__(self):
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func._overloadpacket in flop_registry:
            self.flops += flop_registry[func._overloadpacket](*args, **kwargs, out_val=out)
        return out


def _wait_for_gpu() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
