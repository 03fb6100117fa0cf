"""Saliency from the strength of coarse vectors."""

import torch
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.registry import MODELS
from mmdcn.structures import Measured

from .base import BaseSaliency


@MODELS.register_module()
class ActivationNorm(BaseSaliency):
    """Measures how strongly the coarse tower responds: the L2 norm of each coarse vector."""

    def forward(
        self, coarse: torch.Tensor, head: nn.Module, data_samples: list[DataSample] | None = None
    ) -> Measured:
        """Compute the saliency map.

        Args:
            coarse: (N, D, s1, s2).
            head: Not run.
            data_samples: Not read.

        Returns:
            Measured: The map, no entropy.
        """
        coarse = coarse.detach().to(torch.promote_types(coarse.dtype, torch.float32))
        return Measured(coarse.norm(dim=1))
