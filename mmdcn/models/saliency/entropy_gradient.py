import torch
from torch import nn

from mmdcn.registry import MODELS

from .head_reading import HeadReading
from .measured import Measured


@MODELS.register_module()
class EntropyGradient(HeadReading):
    """How much the output's entropy moves with each coarse vector (eqs. 2, 3).

    Where the head knows it in closed form, ``entropy_and_gradient_norm(feats) -> (N,),
    (N, s1, s2)`` or None, no graph is built; elsewhere ``entropy(feats) -> (N,)`` is
    differentiated.

    Args:
        head: As in :class:`HeadReading`.
    """

    question = 'entropy'
    known_by = 'GlobalMaxPoolHead'

    def ask(self, head: nn.Module, feats: torch.Tensor) -> Measured:
        """The gradient's norm in each cell, and the entropy."""
        closed_form = getattr(head, 'entropy_and_gradient_norm', lambda feats: None)
        entropy, norm = closed_form(feats) or entropy_and_gradient_norm_by_autograd(head, feats)
        return Measured(norm, entropy)


def entropy_and_gradient_norm_by_autograd(
    head: nn.Module, feats: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """``head.entropy(feats)``, (N,), and the norm of its gradient in each cell, (N, s1, s2)."""
    with torch.inference_mode(False), torch.enable_grad():
        if feats.is_inference():  # autograd refuses these; a copy made here is none
            feats = feats.clone()
        feats = feats.detach().requires_grad_()
        entropy = head.entropy(feats)
        (gradient,) = torch.autograd.grad(entropy.sum(), feats)
        return entropy.detach(), torch.linalg.vector_norm(gradient, dim=1)
