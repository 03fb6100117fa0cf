"""The grid that maps each cell to the pixels of its patch."""

import torch
from torch import nn

from mmdcn.registry import MODELS
from mmdcn.structures import Cells, Windows
from mmdcn.structures.tables import looked_up

from .geometry import Pair, to_pair

Number = int | float
Numbers = tuple[Number, Number]


@MODELS.register_module()
class PatchGrid(nn.Module):
    """Places the patches X^s of the chosen cells in the image (§2.1).

    The patch of cell (i, j) is the window of ``size`` pixels whose top left corner is
    ``stride * (i, j) + offset``, rounded to the nearest pixel. All options are in pixels, either
    one number or (vertical, horizontal).

    Args:
        size: Height and width of a patch.
        stride: Pixels between the patches of neighbouring cells: the coarse tower's stride
            divided by the scale at which it sees the image.
        offset: Top left corner of the patch of cell (0, 0): the coarse tower's offset minus the
            extra context that the fine tower gets above and to the left of the cell.

    Raises:
        ValueError: ``size`` or ``stride`` is not positive.
    """

    def __init__(
        self, *, size: int | Pair, stride: Number | Numbers, offset: Number | Numbers = 0
    ) -> None:
        super().__init__()
        self.size = to_pair(size)
        self.stride = to_pair(stride, (int, float))
        self.offset = to_pair(offset, (int, float))
        for option, least in (('size', 'at least 1'), ('stride', 'positive')):
            if min(getattr(self, option)) <= 0:
                raise ValueError(
                    f'PatchGrid({option}=...) counts pixels and must be {least}, '
                    f'got {getattr(self, option)}.'
                )

    def forward(self, cells: Cells) -> Windows:
        """Return the windows of P cells."""
        (rows, columns), places = cells.grid, (self.stride, self.offset)
        corners = looked_up(_corners, cells.index, rows * columns, columns, *places)
        return Windows(cells.image, corners, self.size)

    def all(self, grid: Pair, device: torch.device | str = 'cpu') -> Windows:
        """Return the windows of all cells of one map of ``grid`` cells."""
        index = torch.arange(grid[0] * grid[1], device=device).unsqueeze(0)
        return self(Cells.fixed(index, grid))

    def extra_repr(self) -> str:
        """Return the options, for printing the module."""
        return f'size={self.size}, stride={self.stride}, offset={self.offset}'


def _corners(index: torch.Tensor, columns: int, stride: Numbers, offset: Numbers) -> torch.Tensor:
    """Return the top and left pixels of patches: (P,) flat cells -> (P, 2) int64."""
    top = _nearest(index // columns * stride[0] + offset[0])
    left = _nearest(index % columns * stride[1] + offset[1])
    return torch.stack((top, left), dim=1)


def _nearest(position: torch.Tensor) -> torch.Tensor:
    return (position + 0.5).floor().long() if position.is_floating_point() else position
