from typing import Union

import torch
from torch import nn

from mmdcn.registry import MODELS

from .cells import Cells, PackedCells, indices
from .geometry import Pair, to_pair

Number = Union[int, float]


@MODELS.register_module()
class PatchExtractor(nn.Module):
    """Cuts the patches X^s of the chosen cells out of the image (§2.1).

    The patch of cell (i, j) is the window of ``size`` pixels whose top left is
    ``stride * (i, j) + offset``, to the nearest pixel, zero where it leaves the image. All
    options are in pixels, either one number or (vertical, horizontal).

    Args:
        size: Height and width of a patch.
        stride: Pixels between the patches of neighbouring cells, which is the coarse
            tower's stride, over the scale at which it sees the image.
        offset: Top left of the patch of cell (0, 0). The coarse tower's offset less the
            context that the fine tower gets beyond the cell at the top and the left.

    Raises:
        ValueError: ``size`` or ``stride`` is not positive.
    """

    def __init__(
        self,
        *,
        size: int | Pair,
        stride: Number | tuple[Number, Number],
        offset: Number | tuple[Number, Number] = 0,
    ):
        super().__init__()
        self.size = to_pair(size)
        self.stride = to_pair(stride, (int, float))
        self.offset = to_pair(offset, (int, float))
        for option, least in (('size', 'at least 1'), ('stride', 'positive')):
            if min(getattr(self, option)) <= 0:
                raise ValueError(
                    f'PatchExtractor({option}=...) counts pixels and must be '
                    f'{least}, got {getattr(self, option)}.'
                )

    def forward(self, images: torch.Tensor, cells: Cells, grid: Pair) -> torch.Tensor:
        """Cut the patches out of the images, in one gather.

        Neither the image nor all of its windows are copied on the way.

        Args:
            images: (N, C, H, W), of any type.
            cells: (N, k) int64, flat row-major indices into the coarse map, or P packed ones.
            grid: (s1, s2), the size of the coarse map.

        Returns:
            Tensor: (N·k, C, ph, pw) or (P, C, ph, pw), the patches of the first image first.
        """
        (_, channels, height, width), device = images.shape, images.device
        image = _images_of(cells)  # (P, ) or (N, 1)
        top, left = self._corners(indices(cells), grid)  # (P, ) or (N, k), as "..." below
        rows = top.unsqueeze(-1) + torch.arange(self.size[0], device=device)  # (..., ph)
        columns = left.unsqueeze(-1) + torch.arange(self.size[1], device=device)
        nearest_rows, nearest_columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        planes = image.unsqueeze(-1) * channels + torch.arange(channels, device=device)
        pixels = planes.unsqueeze(-1) * height + nearest_rows.unsqueeze(-2)  # (..., C, ph)
        pixels = pixels.unsqueeze(-1) * width + nearest_columns[..., None, None, :]
        inside = (rows == nearest_rows).unsqueeze(-1) & (columns == nearest_columns).unsqueeze(-2)
        patches = images.reshape(-1).index_select(0, pixels.flatten()).view(pixels.shape)
        return (patches * inside.unsqueeze(-3)).flatten(0, -4)

    def _corners(self, cells: torch.Tensor, grid: Pair) -> tuple[torch.Tensor, torch.Tensor]:
        """Top and left pixels of the patches, int64."""
        return (
            _nearest(cells // grid[1] * self.stride[0] + self.offset[0]),
            _nearest(cells % grid[1] * self.stride[1] + self.offset[1]),
        )

    def boxes(self, cells: Cells, grid: Pair) -> torch.Tensor:
        """Pixel boxes of the patches.

        Args:
            cells: (N, k) int64, flat row-major indices into the coarse map, or P packed ones.
            grid: (s1, s2), the size of the coarse map.

        Returns:
            Tensor: (N, k, 4) or (P, 4) int64, (x1, y1, x2, y2) with x2 and y2 just outside; a
            patch at the border can reach outside the image.
        """
        y1, x1 = self._corners(indices(cells), grid)
        return torch.stack((x1, y1, x1 + self.size[1], y1 + self.size[0]), dim=-1)

    def extra_repr(self) -> str:
        return f'size={self.size}, stride={self.stride}, offset={self.offset}'


def _nearest(position: torch.Tensor) -> torch.Tensor:
    return (position + 0.5).floor().long() if position.is_floating_point() else position


def gather_cells(feature_map: torch.Tensor, cells: Cells) -> torch.Tensor:
    """Read the vectors of the chosen cells.

    Args:
        feature_map: (N, D, s1, s2).
        cells: (N, k) int64, flat row-major, or P packed ones.

    Returns:
        Tensor: (N, k, D) or (P, D).
    """
    if isinstance(cells, PackedCells):
        return feature_map.flatten(2)[cells.image, :, cells.cell]
    index = cells.unsqueeze(1).expand(-1, feature_map.size(1), -1)  # (N, D, k)
    return feature_map.flatten(2).gather(2, index).transpose(1, 2)


def replace_cells(feature_map: torch.Tensor, cells: Cells, vectors: torch.Tensor) -> torch.Tensor:
    """Write vectors into the chosen cells of a copy of the map.

    Args:
        feature_map: (N, D, s1, s2).
        cells: (N, k) int64, flat row-major, no cell twice; or P packed ones.
        vectors: (N, k, D) or (P, D).

    Returns:
        Tensor: (N, D, s1, s2).
    """
    # Cell by cell, so that a map that is channels last in memory stays so.
    by_cell = feature_map.flatten(2).transpose(1, 2)  # (N, s1·s2, D)
    by_cell = by_cell.index_put((_images_of(cells), indices(cells)), vectors.to(feature_map.dtype))
    return by_cell.transpose(1, 2).unflatten(2, feature_map.shape[2:])


def _images_of(cells: Cells) -> torch.Tensor:
    """The image of each cell: (P, ), or (N, 1) where each has k."""
    if isinstance(cells, PackedCells):
        return cells.image
    return torch.arange(cells.size(0), device=cells.device).unsqueeze(1)
