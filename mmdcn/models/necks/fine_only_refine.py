"""A neck that uses the patches alone."""

import torch
from torch import nn

from mmdcn.registry import MODELS
from mmdcn.structures import Cells


@MODELS.register_module()
class FineOnlyRefine(nn.Module):
    """Keeps only the fine vectors and ignores the coarse map (§4.2.2)."""

    takes_vectors = False
    takes_budgets = False

    def forward(self, coarse: torch.Tensor, fine: torch.Tensor, cells: Cells) -> torch.Tensor:
        """Arrange the patches' features as a map for the head.

        Args:
            coarse: (N, D, s1, s2), unused.
            fine: (P, D), or (P, D, h, w) if a patch gives a small map.
            cells: The chosen cells, k per image.

        Returns:
            Tensor: (N, D, k, 1) or (N, D, k, h, w).

        Raises:
            ValueError: There are no patches, or images differ in the number of patches.
        """
        if cells.index.size(0) == 0:
            raise ValueError(
                'FineOnlyRefine reads the patches alone and got none: set the '
                "selector's k to at least 1."
            )
        by_channel = cells.group(fine).transpose(1, 2)  # (N, D, k[, h, w])
        return by_channel.unsqueeze(3) if fine.dim() == 2 else by_channel
