"""Class activation maps."""

from typing import Any

import torch

from mmdcn.models.contracts import HasClassActivation
from mmdcn.registry import MODELS
from mmdcn.structures import Measured

from .head_reading import HeadReading


@MODELS.register_module()
class ClassActivation(HeadReading):
    """Measures each cell's evidence for the predicted class, without a backward pass.

    These are class activation maps (Zhou et al., CVPR 2016); the head computes the map. A map with
    negative cells is shifted so that its lowest cell is 0, which keeps the order of cells.

    Args:
        head: As in :class:`HeadReading`.
    """

    asks = HasClassActivation
    known_by = 'GlobalMaxPoolHead, or MapHead with a global average and a linear layer'

    def ask(self, head: Any, feats: torch.Tensor) -> Measured:
        """Measure the activation of the predicted class in each cell."""
        activation = head.class_activation(feats)
        lowest = activation.amin(dim=(1, 2), keepdim=True)
        return Measured(activation - lowest.clamp(max=0))
