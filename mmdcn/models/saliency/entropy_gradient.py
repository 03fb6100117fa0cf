from contextlib import contextmanager
from typing import Iterator

import torch
from torch import nn

from mmdcn.registry import MODELS


@MODELS.register_module()
class EntropyGradient(nn.Module):
    """How much the output's entropy moves with each coarse vector (eqs. 2, 3).

    The head runs on the detached coarse map in evaluation mode, so images of a batch don't
    touch each other, no running statistic moves and no weight receives a gradient. The
    pass is in float32 at least, also under autocast.
    """

    def forward(self, coarse: torch.Tensor, head: nn.Module) -> torch.Tensor:
        """Compute the saliency map M.

        Args:
            coarse: (N, D, s1, s2).
            head: A module with ``entropy(feats) -> (N,)``, differentiable in ``feats``.

        Returns:
            Tensor: (N, s1, s2), ≥ 0, float32 (float64 for a float64 map), no graph.

        Raises:
            TypeError: The head has no ``entropy``.
        """
        if not hasattr(head, 'entropy'):
            raise TypeError(f'EntropyGradient needs a head with entropy(feats) -> (N,), which '
                            f'{type(head).__name__} lacks: use GlobalMaxPoolHead or add it.')
        with evaluation_mode(head), torch.inference_mode(False), torch.enable_grad(), \
                torch.autocast(coarse.device.type, enabled=False):
            feats = coarse.detach().to(torch.promote_types(coarse.dtype, torch.float32))
            if feats.is_inference():  # autograd refuses these; a copy made here is none
                feats = feats.clone()
            feats.requires_grad_()
            gradient, = torch.autograd.grad(head.entropy(feats).sum(), feats)
        return gradient.norm(dim=1)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode and give each submodule its own mode back."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
