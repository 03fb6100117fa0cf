"""Support for training on CPUs that MMEngine lacks."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as torch_dist
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import nn
from torch.amp.grad_scaler import GradScaler

from mmdcn.registry import OPTIM_WRAPPERS

DTYPES = ('bfloat16', 'float16')
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # constants of mallopt(3)


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(AmpOptimWrapper):
    """Trains in mixed precision on the CPU; MMEngine's ``AmpOptimWrapper`` needs a GPU.

    Args:
        dtype: ``'bfloat16'`` or ``'float16'``; None means bfloat16, torch's default on a CPU.
        loss_scale: ``'dynamic'``, a fixed number, or options of ``torch.amp.GradScaler``.
        **kwargs: ``optimizer``, ``accumulative_counts`` and ``clip_grad`` of ``OptimWrapper``.

    Raises:
        ValueError: ``dtype`` is neither.
    """

    def __init__(
        self, *, dtype: str | None = None, loss_scale: str | float | dict = 'dynamic', **kwargs: Any
    ) -> None:
        OptimWrapper.__init__(self, **kwargs)
        if dtype not in (None, *DTYPES):
            raise ValueError(
                f'CPUAmpOptimWrapper(dtype=...) must be one of {DTYPES}, got {dtype!r}.'
            )
        self.cast_dtype = getattr(torch, dtype or 'bfloat16')
        self._scale_update_param = None
        if isinstance(loss_scale, (int, float)):
            self._scale_update_param = float(loss_scale)
            loss_scale = dict(init_scale=float(loss_scale))
        options = loss_scale if isinstance(loss_scale, dict) else {}
        self.loss_scaler = GradScaler('cpu', **options)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run with autocast, and exchange no gradients between processes while they accumulate."""
        with OptimWrapper.optim_context(self, model), torch.autocast('cpu', self.cast_dtype):
            yield


def distribute_on_cpu(cfg: Config) -> None:
    """Let processes train together on CPUs; MMEngine by itself needs GPUs.

    Args:
        cfg: Gets a model wrapper that is not bound to a GPU, if it names no wrapper.
    """
    if not torch_dist.is_initialized():
        torch_dist.init_process_group('gloo')
    cfg.setdefault(
        'model_wrapper_cfg',
        dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False),
    )


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory for the next allocation, instead of returning it at once.

    Torch allocates the same large maps in every step. By default, glibc requests and returns each
    of them by a system call, and the kernel clears every page again: the paper's fine model then
    trains half as fast on a CPU. The process keeps its peak size.

    Returns:
        bool: Whether the C library supports this. Nothing changes with other libraries than glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    return mallopt is not None and bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1))
