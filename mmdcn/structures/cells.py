"""Cells chosen in feature maps."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch

from .ragged import Ragged, parts_of
from .tables import jit_traces, made_once

Size = tuple[int, int]


class Cells:
    """P cells chosen in N maps, in the order of the images.

    Each image has k cells, or as many as its own budget allows. There is no padding for cells that
    are not chosen: everything computed for the cells has P rows.

    Create them with :meth:`fixed` or :meth:`budgeted`. Where maps differ in size, :meth:`join` puts
    together the cells of each part of a :class:`Ragged` batch of maps.

    Attributes:
        index: (P,) int64, flat row-major indices into a map; within an image, the most salient
            first.
        grid: (s1, s2), the size of a map; None if maps differ in size.
        budgets: (N,) int64, the number of cells of each image; None if each has k.
        weights: (P,) float, the weight of each cell, or None if all have the same. A cell that was
            drawn twice appears twice.
    """

    def __init__(
        self,
        index: torch.Tensor,
        grid: Any,
        *,
        shape: Size = (0, 0),
        image: torch.Tensor | None = None,
        budgets: torch.Tensor | None = None,
        weights: torch.Tensor | None = None,
    ) -> None:
        self.index = index
        self.grid: Any = grid
        self.budgets = budgets
        self.weights = weights
        self._parts: tuple[Cells, ...] = ()
        self._counts: list[int] = []
        self._shape = shape
        self._image = image

    @classmethod
    def fixed(cls, index: torch.Tensor, grid: Size, weights: torch.Tensor | None = None) -> 'Cells':
        """Take the same number of cells in each image, without waiting for the device.

        Args:
            index: (N, k) int64, flat row-major indices.
            grid: (s1, s2), the size of a map.
            weights: (N, k) float, the weights of the cells; None if all have the same.
        """
        flat = None if weights is None else weights.flatten()
        return cls(index.flatten(), grid, shape=(index.size(0), index.size(1)), weights=flat)

    @classmethod
    @torch.compiler.disable  # the number of cells depends on values
    def budgeted(cls, ranked: torch.Tensor, budgets: torch.Tensor, grid: Size) -> 'Cells':
        """Take the first cells of each image, as many as its budget allows.

        Shapes depend on the budgets, so this waits for the device once.

        Args:
            ranked: (N, k) int64, flat row-major indices, the most salient first.
            budgets: (N,) int64, each from 0 to k.
            grid: (s1, s2), the size of a map.

        Raises:
            ValueError: ``torch.jit.trace`` runs, which would keep these budgets for all images.
        """
        if jit_traces():
            raise ValueError(
                'torch.jit.trace cannot follow budgets that differ from image to image: choose '
                'TopKSelector.'
            )
        if torch.compiler.is_exporting():  # with no value to know
            places = torch.arange(ranked.size(1), device=ranked.device)
            image, rank = (places < budgets.unsqueeze(1)).nonzero().unbind(dim=1)
            return cls(ranked[image, rank], grid, image=image, budgets=budgets)
        counts = budgets.tolist()
        image = torch.repeat_interleave(budgets, output_size=sum(counts))
        before = budgets.cumsum(0) - budgets
        rank = torch.arange(sum(counts), device=ranked.device) - before[image]
        cells = cls(ranked[image, rank], grid, image=image, budgets=budgets)
        cells._counts = counts
        return cells

    @classmethod
    def join(cls, parts: Sequence['Cells']) -> 'Cells':
        """Put together the cells of the parts of a batch."""
        if len(parts) == 1:
            return parts[0]
        counts = [part.images for part in parts]
        starts = accumulate(counts, initial=0)
        image = torch.cat([part.image + start for part, start in zip(parts, starts, strict=False)])
        budgets, shape = None, (sum(counts), parts[0]._shape[1])
        if any(part.budgets is not None or part._shape[1] != shape[1] for part in parts):
            budgets = torch.cat([part._each_budget() for part in parts])
        weights = [part.weights for part in parts if part.weights is not None]
        joined = cls(
            torch.cat([part.index for part in parts]),
            None,
            shape=shape,
            image=image,
            budgets=budgets,
            weights=torch.cat(weights) if weights else None,
        )
        joined._parts = tuple(parts)
        return joined

    @property
    def parts(self) -> tuple['Cells', ...]:
        """The cells of each part of the batch; only these themselves if maps are of one size."""
        return self._parts or (self,)

    @property
    def images(self) -> int:
        """N, the number of images."""
        return self._shape[0] if self.budgets is None else self.budgets.size(0)

    def _each_budget(self) -> torch.Tensor:
        if self.budgets is not None:
            return self.budgets
        return torch.full((self._shape[0],), self._shape[1], device=self.index.device)

    @property
    def image(self) -> torch.Tensor:
        """Index of the image that each cell belongs to, (P,) int64, ascending."""
        if self._image is None:
            self._image = _images(self._shape[0], self._shape[1], self.index.device)
        return self._image

    def __len__(self) -> int:
        """Return P, the number of cells of all images."""
        return self.index.size(0)

    def group(self, rows: torch.Tensor) -> torch.Tensor:
        """Group the rows by image: (P, ...) -> (N, k, ...).

        Raises:
            ValueError: Images have budgets of their own.
        """
        if self.budgets is not None:
            raise ValueError(
                'Images with budgets of their own have no common number of patches k: '
                'choose TopKSelector, or a part that reads cells one by one, such as SwapRefine.'
            )
        return rows.unflatten(0, self._shape)

    def split(self, rows: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return the rows of each image: (P, ...) -> (N, k, ...), or N tensors (budget, ...)."""
        if self.budgets is None:
            return self.group(rows)  # type: ignore[return-value]
        return rows.split(self._counts or self.budgets.tolist())

    def divide(self, rows: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return the rows of each part: (P, ...) -> (rows of the part, ...)."""
        return (rows,) if len(self.parts) == 1 else rows.split([len(part) for part in self.parts])

    def gather(self, feature_map: torch.Tensor | Ragged) -> torch.Tensor:
        """Read the vectors of the cells: (N, D, s1, s2) -> (P, D)."""
        if len(self.parts) > 1:
            parts = zip(self.parts, parts_of(feature_map), strict=True)
            return torch.cat([cells.gather(feats) for cells, feats in parts])
        return feature_map.flatten(2)[self.image, :, self.index]

    def replace(self, feature_map: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Write vectors into the cells of a copy of a map.

        Args:
            feature_map: (N, D, s1, s2).
            vectors: (P, D). No cell may occur twice.

        Returns:
            Tensor: (N, D, s1, s2).
        """
        # Writes cell by cell, so that a channels-last map stays channels last in memory.
        by_cell = feature_map.flatten(2).transpose(1, 2)  # (N, s1·s2, D)
        by_cell = by_cell.index_put((self.image, self.index), vectors.to(feature_map.dtype))
        return by_cell.transpose(1, 2).unflatten(2, feature_map.shape[2:])


@made_once
def _images(number: int, k: int, device: torch.device) -> torch.Tensor:
    """Return 0, ..., 0, 1, ..., 1, ...: the index of each of ``number`` images, k times."""
    images = torch.arange(number, device=device)
    return images.unsqueeze(1).expand(number, k).flatten()
