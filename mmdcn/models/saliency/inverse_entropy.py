"""The saliency of soft attention."""

from typing import Any

import torch

from mmdcn.models.contracts import HasCertainty
from mmdcn.registry import MODELS
from mmdcn.structures import Measured

from .head_reading import HeadReading


@MODELS.register_module()
class InverseEntropy(HeadReading):
    """Measures how certain the coarse prediction is at each cell (eq. 13), without a backward pass.

    Soft attention weights cells by this measure; here it chooses patches. The gradient of the
    entropy (eqs. 2, 3) vanishes in the softmax of a cell that is certain. If the towers were
    trained on well-centred images only, the certain cells are those that show the number.

    Args:
        head: As in :class:`HeadReading`.
    """

    asks = HasCertainty
    known_by = 'SequenceHead'

    def ask(self, head: Any, feats: torch.Tensor) -> Measured:
        """Measure the certainty in each cell."""
        return Measured(head.certainty(feats))
