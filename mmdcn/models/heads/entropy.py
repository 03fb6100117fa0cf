"""The entropy's gradient by autograd, for heads without a closed form."""

import torch

from mmdcn.models.contracts import HasEntropy
from mmdcn.structures.tables import jit_traces


def entropy_and_gradient_norm_by_autograd(
    head: HasEntropy, feats: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute ``head.entropy`` and differentiate it (eqs. 2, 3).

    Args:
        head: A head with an ``entropy``.
        feats: (N, D, s1, s2).

    Returns:
        tuple: The entropy (N,) and its gradient's norm per cell (N, s1, s2), without a graph.

    Raises:
        ValueError: ``torch.jit.trace`` runs.
    """
    if jit_traces():
        raise ValueError(
            'torch.jit.trace cannot follow a gradient that autograd computes: choose '
            'ClassActivation, or a head that knows the gradient, such as GlobalMaxPoolHead.'
        )
    with torch.inference_mode(False), torch.enable_grad():
        if feats.is_inference():  # autograd refuses these; a copy made here is accepted
            feats = feats.clone()
        feats = feats.detach().requires_grad_()
        entropy = head.entropy(feats)
        (gradient,) = torch.autograd.grad(entropy.sum(), feats)
        return entropy.detach(), torch.linalg.vector_norm(gradient, dim=1)
