import torch
from torch import nn

from mmdcn.registry import MODELS

from .head_reading import HeadReading
from .measured import Measured


@MODELS.register_module()
class InverseEntropy(HeadReading):
    """How sure the coarse model is at each cell, without a backward pass.

    What soft attention weighs by (eq. 13), taken to choose patches. The gradient of the entropy
    (eqs. 2, 3) passes each cell's softmax, which lets nothing through where the cell is sure; with
    towers trained on well-centred images alone that is where the number is.

    Args:
        head: As in :class:`HeadReading`.
    """

    question = 'certainty'
    known_by = 'SequenceHead'

    def ask(self, head: nn.Module, feats: torch.Tensor) -> Measured:
        """The head's ``certainty(feats) -> (N, s1, s2)``."""
        return Measured(head.certainty(feats))
