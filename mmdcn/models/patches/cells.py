"""Chosen cells: as many of each image, or as many as each has a budget for."""

from collections.abc import Sequence
from typing import NamedTuple, Union

import torch


class PackedCells(NamedTuple):
    """The P chosen cells of N images that each have a budget of their own.

    Nothing stands for a cell that is not chosen: whatever is computed of these cells is P
    rows, those of the first image first.

    Attributes:
        image: (P,) int64, whose cell it is, ascending.
        cell: (P,) int64, flat row-major indices into the coarse map, an image's most salient first.
        budgets: How many of them are each image's; N numbers, P in all.
    """

    image: torch.Tensor
    cell: torch.Tensor
    budgets: list[int]


Cells = Union[torch.Tensor, PackedCells]  # (N, k) int64 where each image has k


def pack(ranked: torch.Tensor, budgets: torch.Tensor) -> PackedCells:
    """Take the first cells of each image.

    Shapes depend on the budgets, so the device is waited for, once.

    Args:
        ranked: (N, k) int64.
        budgets: (N,) int64, each from 0 to k.
    """
    counts = budgets.tolist()
    total = sum(counts)
    image = torch.repeat_interleave(budgets, output_size=total)
    before = budgets.cumsum(0) - budgets
    rank = torch.arange(total, device=ranked.device) - before[image]
    return PackedCells(image, ranked[image, rank], counts)


def indices(cells: Cells) -> torch.Tensor:
    """Flat row-major indices into the coarse map: (N, k), or (P,) of packed cells."""
    return cells.cell if isinstance(cells, PackedCells) else cells


def by_image(rows: torch.Tensor, cells: Cells) -> torch.Tensor:
    """One row a patch: (N·k, ...) -> (N, k, ...); of packed cells they stay (P, ...)."""
    return rows if isinstance(cells, PackedCells) else rows.unflatten(0, tuple(cells.shape))


def split_images(values: torch.Tensor, cells: Cells) -> Sequence[torch.Tensor]:
    """What belongs to each image: (N, k, ...) or (P, ...) -> N tensors (budget, ...)."""
    return values.split(cells.budgets) if isinstance(cells, PackedCells) else values
