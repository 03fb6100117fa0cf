"""The saliency of the paper."""

from typing import Any

import torch

from mmdcn.models.contracts import HasEntropy, KnowsEntropyGradient, ReadsChanges
from mmdcn.models.heads.entropy import entropy_and_gradient_norm_by_autograd
from mmdcn.registry import MODELS
from mmdcn.structures import Measured

from .head_reading import HeadReading


@MODELS.register_module()
class EntropyGradient(HeadReading):
    """Measures how much the output's entropy changes with each coarse vector (eqs. 2, 3).

    If the head knows the gradient's norm in closed form, no graph is built. Otherwise, autograd
    differentiates its entropy.

    Args:
        head: As in :class:`HeadReading`.
    """

    gives_entropy = True
    asks = HasEntropy
    known_by = 'GlobalMaxPoolHead'
    why_alike = (
        'its entropy has the same gradient in every cell, as under a global average '
        '(§4.2.2) or with a single class. Use ClassActivation, or a head such as GlobalMaxPoolHead.'
    )

    def ask(self, head: Any, feats: torch.Tensor) -> Measured:
        """Measure the gradient's norm in each cell, and the entropy."""
        kept = None
        if isinstance(head, ReadsChanges):
            entropy, norm, kept = head.look(feats)
        elif isinstance(head, KnowsEntropyGradient):
            entropy, norm = head.entropy_and_gradient_norm(feats)
        else:
            entropy, norm = entropy_and_gradient_norm_by_autograd(head, feats)
        return Measured(norm, entropy, kept)
