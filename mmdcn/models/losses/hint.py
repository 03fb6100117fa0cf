import torch
from torch import nn

from mmdcn.models.patches.cells import Cells
from mmdcn.models.patches.extractor import gather_cells
from mmdcn.registry import MODELS


@MODELS.register_module()
class HintLoss(nn.Module):
    """The distance between coarse and fine vectors on the chosen cells (eq. 6).

    It moves the coarse tower only: the fine vectors are detached (§2.2).

    Args:
        loss_weight: λ of the convex combination (1 − λ)·cross-entropy + λ·hint that the
            coarse tower is trained with (appendix 6.1). At 0 the distance is only logged.

    Raises:
        ValueError: ``loss_weight`` is not within [0, 1].
    """

    def __init__(self, *, loss_weight: float = 0.0):
        super().__init__()
        if not 0 <= loss_weight <= 1:
            raise ValueError(
                f'HintLoss(loss_weight=...) is the λ of a convex combination and '
                f'must be within [0, 1], got {loss_weight}.'
            )
        self.loss_weight = loss_weight

    def forward(self, coarse: torch.Tensor, fine: torch.Tensor, cells: Cells) -> torch.Tensor:
        """Compute the squared distance, not yet weighted.

        Args:
            coarse: (N, D, s1, s2).
            fine: (N, k, D), or (N, k, D, h, w), which is averaged within each patch; of P
                packed cells (P, D) or (P, D, h, w).
            cells: (N, k) int64, flat row-major, or packed.

        Returns:
            Tensor: Scalar; summed over D, averaged over the N·k or P cells, 0 for none.

        Raises:
            ValueError: The towers' channels differ.
        """
        fine = fine.detach().float()
        if fine.dim() > 3:
            fine = fine.mean(dim=(-2, -1))
        if fine.size(-1) != coarse.size(1):
            if self.loss_weight == 0:  # nothing to log either
                return coarse.new_zeros(())
            raise ValueError(
                f'HintLoss compares vectors of equal channels, but the coarse tower '
                f'gives {coarse.size(1)} and the fine one {fine.size(-1)}: change one '
                'of them, or set its loss_weight to 0.'
            )
        distances = (gather_cells(coarse, cells).float() - fine).square().sum(dim=-1)
        return distances.sum() / max(distances.numel(), 1)

    def extra_repr(self) -> str:
        return f'loss_weight={self.loss_weight}'
