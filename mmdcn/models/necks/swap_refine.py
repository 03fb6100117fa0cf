"""A neck that puts fine vectors in place of coarse ones."""

import torch
from torch import nn

from mmdcn.registry import MODELS
from mmdcn.structures import Cells


@MODELS.register_module()
class SwapRefine(nn.Module):
    """Puts the fine vectors in place of the coarse ones, f_r (eqs. 7, 8)."""

    takes_vectors = True
    takes_budgets = True
    swaps = True

    def forward(self, coarse: torch.Tensor, fine: torch.Tensor, cells: Cells) -> torch.Tensor:
        """Refine the coarse map at the chosen cells and nowhere else.

        Args:
            coarse: (N, D, s1, s2).
            fine: (P, D).
            cells: The P chosen cells.

        Returns:
            Tensor: (N, D, s1, s2).

        Raises:
            ValueError: A patch gave a map instead of one vector, or the towers' channels differ.
        """
        if fine.dim() > 2:
            raise ValueError(
                f'SwapRefine needs one fine vector a patch, but the fine tower leaves a '
                f'{fine.size(-2)}×{fine.size(-1)} map of each: give the DCNClassifier a fine_neck '
                'such as GlobalAveragePooling, or patches that the fine tower reduces to 1×1.'
            )
        if fine.size(-1) != coarse.size(1):
            raise ValueError(
                f'SwapRefine needs towers of equal channels, but the coarse tower gives '
                f'{coarse.size(1)} and the fine tower {fine.size(-1)}: change one of them, or give '
                'the DCNClassifier a fine_neck such as LinearNeck.'
            )
        return cells.replace(coarse, fine)
