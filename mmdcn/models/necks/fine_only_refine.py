import torch
from torch import nn

from mmdcn.models.patches.cells import Cells, PackedCells
from mmdcn.registry import MODELS


@MODELS.register_module()
class FineOnlyRefine(nn.Module):
    """Keeps the fine vectors alone and ignores the coarse map (§4.2.2)."""

    def forward(self, coarse: torch.Tensor, fine: torch.Tensor, cells: Cells) -> torch.Tensor:
        """Arrange the patches' features as a map for the head.

        Args:
            coarse: (N, D, s1, s2), unused.
            fine: (N, k, D), or (N, k, D, h, w) where a patch gives a small map.
            cells: (N, k), as many of each image.

        Returns:
            Tensor: (N, D, k, 1) or (N, D, k, h, w).

        Raises:
            ValueError: There are no patches to read, or not as many of each image.
        """
        if isinstance(cells, PackedCells):
            raise ValueError(
                'FineOnlyRefine reads as many patches of each image, but the selector '
                'gives images budgets of their own: choose TopKSelector, or '
                'SwapRefine as the neck.'
            )
        if fine.size(1) == 0:
            raise ValueError(
                'FineOnlyRefine reads the patches alone and got none: set the '
                "selector's k to at least 1."
            )
        by_channel = fine.transpose(1, 2)  # (N, D, k[, h, w])
        return by_channel.unsqueeze(3) if fine.dim() == 3 else by_channel
