"""Random saliency, for comparison."""

import torch
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.registry import MODELS
from mmdcn.structures import Measured

from .base import BaseSaliency


@MODELS.register_module()
class RandomCells(BaseSaliency):
    """Gives each image uniformly random cells: the baseline that any saliency must beat.

    The cells come from torch's global generator, so ``torch.manual_seed`` repeats them.
    """

    draws = True

    def forward(
        self, coarse: torch.Tensor, head: nn.Module, data_samples: list[DataSample] | None = None
    ) -> Measured:
        """Draw a saliency map.

        Args:
            coarse: (N, D, s1, s2); only its shape counts.
            head: Not run.
            data_samples: Not read.

        Returns:
            Measured: The map, in [0, 1), float32; no entropy.
        """
        return Measured(torch.rand(coarse[:, 0].shape, device=coarse.device))
