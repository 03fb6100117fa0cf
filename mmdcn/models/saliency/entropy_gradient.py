from contextlib import contextmanager
from typing import Iterator, List, Optional, Tuple, Union

import torch
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.registry import MODELS

from .measured import Measured


@MODELS.register_module()
class EntropyGradient(BaseModule):
    """How much the output's entropy moves with each coarse vector (eqs. 2, 3).

    The head runs on the detached coarse map in evaluation mode, so images of a batch don't
    touch each other, no running statistic moves and no weight receives a gradient. The
    pass is in float32 at least, also under autocast. Where the head knows the gradient in closed
    form, ``entropy_and_gradient(feats) -> (N,), (N, D, s1, s2)`` or None, no graph is built.

    Args:
        head: A head for the coarse map, config or module, where the DCN's own reads fine
            features only (§4.2.2). It comes trained, by ``init_cfg``, and is not trained here.
    """

    def __init__(self, *, head: Optional[Union[dict, nn.Module]] = None):
        super().__init__()
        self.head = MODELS.build(head) if isinstance(head, dict) else head
        if self.head is not None:
            self.head.requires_grad_(False)

    def forward(self, coarse: torch.Tensor, head: nn.Module,
                data_samples: Optional[List[DataSample]] = None) -> Measured:
        """Compute the saliency map M.

        Args:
            coarse: (N, D, s1, s2).
            head: A module with ``entropy(feats) -> (N,)``, differentiable in ``feats``; the one
                given at construction goes first.
            data_samples: Not read.

        Returns:
            Measured: The map and the entropy.

        Raises:
            TypeError: The head has no ``entropy``.
        """
        head = head if self.head is None else self.head
        if not hasattr(head, 'entropy'):
            raise TypeError(f'EntropyGradient needs a head with entropy(feats) -> (N,), which '
                            f'{type(head).__name__} lacks: use GlobalMaxPoolHead or add it.')
        feats = coarse.detach().to(torch.promote_types(coarse.dtype, torch.float32))
        with evaluation_mode(head), torch.autocast(coarse.device.type, enabled=False):
            known = (head.entropy_and_gradient(feats) if hasattr(head, 'entropy_and_gradient')
                     else None)
            entropy, gradient = known or entropy_and_gradient_by_autograd(head, feats)
        return Measured(torch.linalg.vector_norm(gradient, dim=1), entropy)


def entropy_and_gradient_by_autograd(
        head: nn.Module, feats: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    """``head.entropy(feats)``, (N,), and its sum's gradient, (N, D, s1, s2) as ``feats``."""
    with torch.inference_mode(False), torch.enable_grad():
        if feats.is_inference():  # autograd refuses these; a copy made here is none
            feats = feats.clone()
        feats = feats.detach().requires_grad_()
        entropy = head.entropy(feats)
        return entropy.detach(), torch.autograd.grad(entropy.sum(), feats)[0]


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode and give each submodule its own mode back."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
