"""Records of what a model saw."""

from typing import NamedTuple

import torch

from .cells import Cells
from .windows import Windows


class Measured(NamedTuple):
    """The result of a saliency for N coarse maps of s1×s2 cells.

    Attributes:
        saliency: (N, s1, s2), ≥ 0, float32 (float64 for a float64 map), no graph.
        entropy: (N,), the entropy of the coarse prediction in nats, with the same type and without
            a graph; None if the saliency does not compute it.
    """

    saliency: torch.Tensor
    entropy: torch.Tensor | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """Size of a map, (s1, s2)."""
        return tuple(self.saliency.shape[1:])  # type: ignore[return-value]


class Glance(NamedTuple):
    """What a DCN saw in N images, with D channels, s1×s2 cells and P patches in all.

    Attributes:
        coarse: (N, D, s1, s2), the coarse map.
        saliency: (N, s1, s2).
        entropy: (N,), the entropy of the coarse prediction in nats; None if it is not computed.
        cells: The P chosen cells.
        windows: The places of their patches in the images.
        fine: (P, D), or (P, D, h, w) if the neck takes small maps.
        refined: The output of the neck.
    """

    coarse: torch.Tensor
    saliency: torch.Tensor
    entropy: torch.Tensor | None
    cells: Cells
    windows: Windows
    fine: torch.Tensor
    refined: torch.Tensor

    @property
    def for_head(self) -> tuple[torch.Tensor]:
        """The refined map in a tuple of maps, of which heads of MMPretrain read the last."""
        return (self.refined,)
