"""Hints: the coarse tower learns from what the fine tower sees."""

import torch
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.registry import MODELS
from mmdcn.structures import Glance


@MODELS.register_module()
class HintLoss(nn.Module):
    """The distance between coarse and fine vectors on the chosen cells (eq. 6).

    Only the coarse tower learns from it: the fine vectors are detached (§2.2).

    Args:
        loss_weight: λ of the loss (1 − λ)·cross-entropy + λ·hint that trains the coarse tower
            (appendix 6.1). At 0, the distance is only logged, and the towers' channels may
            differ.

    Raises:
        ValueError: ``loss_weight`` is not within [0, 1].
    """

    def __init__(self, *, loss_weight: float = 0.0) -> None:
        super().__init__()
        if not 0 <= loss_weight <= 1:
            raise ValueError(
                f'HintLoss(loss_weight=...) is the λ of a convex combination and '
                f'must be within [0, 1], got {loss_weight}.'
            )
        self.share = loss_weight

    def forward(
        self, seen: Glance, head: nn.Module, data_samples: list[DataSample]
    ) -> dict[str, torch.Tensor]:
        """Return ``loss_hint``, λ times the distance, and ``hint_distance`` for the log.

        Args:
            seen: A glance with fine vectors (P, D), or with maps (P, D, h, w), which are averaged.
            head: Not run.
            data_samples: Not read.

        Returns:
            dict: Scalars. The distance is summed over D and averaged over the P cells; it is 0
            without cells.

        Raises:
            ValueError: The towers' channels differ.
        """
        distance = self.distance(seen)
        return dict(loss_hint=self.share * distance, hint_distance=distance.detach())

    def distance(self, seen: Glance) -> torch.Tensor:
        """Return the mean squared distance, a scalar with a graph to the coarse map."""
        coarse, fine = seen.coarse, seen.fine.detach().float()
        if fine.dim() > 2:
            fine = fine.mean(dim=(-2, -1))
        if fine.size(-1) != coarse.size(1):
            if self.share == 0:  # there is no distance to log either
                return fine.new_zeros(())
            raise ValueError(
                f'HintLoss compares vectors of equal channels, but the coarse tower '
                f'gives {coarse.size(1)} and the fine one {fine.size(-1)}: change one '
                'of them, or set its loss_weight to 0.'
            )
        distances = (seen.cells.gather(coarse).float() - fine).square().sum(dim=-1)
        return distances.sum() / max(distances.numel(), 1)

    def extra_repr(self) -> str:
        """Return the options, for printing the module."""
        return f'loss_weight={self.share}'
