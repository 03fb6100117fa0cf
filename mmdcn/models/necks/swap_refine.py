import torch
from torch import nn

from mmdcn.models.patches.cells import Cells
from mmdcn.models.patches.extractor import replace_cells
from mmdcn.registry import MODELS


@MODELS.register_module()
class SwapRefine(nn.Module):
    """Puts the fine vectors in place of the coarse ones, f_r (eqs. 7, 8)."""

    def forward(self, coarse: torch.Tensor, fine: torch.Tensor, cells: Cells) -> torch.Tensor:
        """Refine the coarse map at the chosen cells and nowhere else.

        Args:
            coarse: (N, D, s1, s2).
            fine: (N, k, D), or (P, D) of packed cells.
            cells: (N, k) int64, flat row-major, or P packed ones.

        Returns:
            Tensor: (N, D, s1, s2).

        Raises:
            ValueError: A patch gave a map in place of one vector, or the towers' channels
                differ.
        """
        if fine.dim() > 3:
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
        return replace_cells(coarse, cells, fine)
