"""Records of what a model saw."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from .cells import Cells
from .feature_map import features_of
from .ragged import Ragged
from .windows import Windows


class Measured(NamedTuple):
    """The result of a saliency for N coarse maps of s1×s2 cells.

    Attributes:
        saliency: (N, s1, s2), ≥ 0, float32 (float64 for a float64 map), no graph.
        entropy: (N,), the entropy of the coarse prediction in nats, with the same type and without
            a graph; None if the saliency does not compute it.
        kept: What the head keeps of the coarse map, so that it need not read all of the refined
            map; None if it has to.
    """

    saliency: torch.Tensor
    entropy: torch.Tensor | None = None
    kept: Any = None

    @property
    def grid(self) -> tuple[int, int]:
        """Size of a map, (s1, s2)."""
        return tuple(self.saliency.shape[1:])  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)  # no tuple, which a head would take for one of maps
class ChangedMap:
    """A map that a head has read before, with new vectors in some of its cells.

    Attributes:
        kept: What the head kept of the map before.
        cells: The P cells; none occurs twice.
        change: (P, D), new vector − old vector.
    """

    kept: Any
    cells: Cells
    change: torch.Tensor


class Glance(NamedTuple):
    """What a DCN saw in N images, with D channels, s1×s2 cells and P patches in all.

    Where images differ in size, maps are :class:`Ragged`.

    Attributes:
        coarse: (N, D, s1, s2), the coarse map.
        saliency: (N, s1, s2).
        entropy: (N,), the entropy of the coarse prediction in nats; None if it is not computed.
        cells: The P chosen cells.
        windows: The places of their patches in the images.
        fine: (P, D), or (P, D, h, w) if the neck takes small maps.
        refined: The output of the neck.
        kept: What the head kept of each part of the coarse map, if the refined map differs from it
            in the chosen cells alone, where it has the fine vectors; None otherwise.
    """

    coarse: Any
    saliency: Any
    entropy: torch.Tensor | None
    cells: Cells
    windows: Windows
    fine: torch.Tensor
    refined: Any
    kept: tuple | None = None

    @property
    def for_head(self) -> Any:
        """The refined map in a tuple of maps, of which heads of MMPretrain read the last.

        A head that has kept something of the coarse map gets the change instead. Where maps differ
        in size, this is a :class:`Ragged` of either.
        """
        if self.kept is None:
            return features_of(self.refined)
        change = self.cells.divide(self.fine - self.cells.gather(self.coarse))
        parts = list(map(ChangedMap, self.kept, self.cells.parts, change))
        if len(parts) == 1:
            return parts[0]
        return Ragged(parts, [part.images for part in self.cells.parts])
