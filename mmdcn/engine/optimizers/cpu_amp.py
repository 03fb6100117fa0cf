from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import nn

from mmdcn.registry import OPTIM_WRAPPERS

DTYPES = ('bfloat16', 'float16')


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(AmpOptimWrapper):
    """Mixed precision on the CPU, for which MMEngine's ``AmpOptimWrapper`` insists on a GPU.

    Args:
        dtype: ``'bfloat16'`` or ``'float16'``; None takes bfloat16, torch's default on a CPU.
        loss_scale: ``'dynamic'``, a fixed number, or options of ``torch.amp.GradScaler``.
        **kwargs: ``optimizer``, ``accumulative_counts`` and ``clip_grad`` of ``OptimWrapper``.

    Raises:
        ValueError: ``dtype`` is neither.
    """

    def __init__(
        self, *, dtype: str | None = None, loss_scale: str | float | dict = 'dynamic', **kwargs
    ):
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
        options = {} if loss_scale == 'dynamic' else loss_scale
        self.loss_scaler = torch.amp.GradScaler('cpu', **options)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast, and no exchange of gradients between processes while they accumulate."""
        with OptimWrapper.optim_context(self, model), torch.autocast('cpu', self.cast_dtype):
            yield
