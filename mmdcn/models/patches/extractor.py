from typing import Union

import torch
import torch.nn.functional as F
from torch import nn

from mmdcn.registry import MODELS

from .cells import Cells, PackedCells, indices
from .geometry import Pair, to_pair


@MODELS.register_module()
class PatchExtractor(nn.Module):
    """Cuts the patches X^s of the chosen cells out of the image (§2.1).

    The patch of cell (i, j) is the window of ``size`` pixels whose top left is
    ``stride * (i, j) + offset``, zero where it leaves the image. All options are in pixels,
    either one number or (vertical, horizontal).

    Args:
        size: Height and width of a patch.
        stride: Pixels between the patches of neighbouring cells, which is the coarse
            tower's stride.
        offset: Top left pixel of the patch of cell (0, 0). The coarse tower's offset less the
            context that the fine tower gets beyond the cell at the top and the left.

    Raises:
        ValueError: ``size`` or ``stride`` is not positive.
    """

    def __init__(self, *, size: Union[int, Pair], stride: Union[int, Pair],
                 offset: Union[int, Pair] = 0):
        super().__init__()
        self.size = to_pair(size)
        self.stride = to_pair(stride)
        self.offset = to_pair(offset)
        for option in ('size', 'stride'):
            if min(getattr(self, option)) < 1:
                raise ValueError(f'PatchExtractor({option}=...) counts pixels and must be at '
                                 f'least 1, got {getattr(self, option)}.')

    def forward(self, images: torch.Tensor, cells: Cells, grid: Pair) -> torch.Tensor:
        """Cut the patches out of the images, in one gather.

        Args:
            images: (N, C, H, W).
            cells: (N, k) int64, flat row-major indices into the coarse map, or P packed ones.
            grid: (s1, s2), the size of the coarse map.

        Returns:
            Tensor: (N·k, C, ph, pw) or (P, C, ph, pw), the patches of the first image first.
        """
        windows = self.cover(images, grid).unfold(2, self.size[0], self.stride[0]).unfold(
            3, self.size[1], self.stride[1])  # (N, C, s1 or more, s2 or more, ph, pw), a view
        if isinstance(cells, PackedCells):
            row, column = cells.cell // grid[1], cells.cell % grid[1]
            return windows[cells.image, :, row, column]
        image = torch.arange(images.size(0), device=cells.device).unsqueeze(1)
        row, column = cells // grid[1], cells % grid[1]
        return windows[image, :, row, column].flatten(0, 1)

    def cover(self, images: torch.Tensor, grid: Pair) -> torch.Tensor:
        """Pad images to what the patches of all cells cover, from the first patch's corner on."""
        (top, bottom), (left, right) = (
            (max(-offset, 0),
             torch.sym_max(stride * (cells_across - 1) + offset + size - length, 0))
            for offset, stride, cells_across, size, length
            in zip(self.offset, self.stride, grid, self.size, images.shape[-2:]))
        padded = F.pad(images, (left, right, top, bottom))
        return padded[..., max(self.offset[0], 0):, max(self.offset[1], 0):]

    def boxes(self, cells: Cells, grid: Pair) -> torch.Tensor:
        """Pixel boxes of the patches.

        Args:
            cells: (N, k) int64, flat row-major indices into the coarse map, or P packed ones.
            grid: (s1, s2), the size of the coarse map.

        Returns:
            Tensor: (N, k, 4) or (P, 4) int64, (x1, y1, x2, y2) with x2 and y2 just outside; a
            patch at the border can reach outside the image.
        """
        cells = indices(cells)
        y1 = cells // grid[1] * self.stride[0] + self.offset[0]
        x1 = cells % grid[1] * self.stride[1] + self.offset[1]
        return torch.stack((x1, y1, x1 + self.size[1], y1 + self.size[0]), dim=-1)

    def extra_repr(self) -> str:
        return f'size={self.size}, stride={self.stride}, offset={self.offset}'


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


def replace_cells(feature_map: torch.Tensor, cells: Cells,
                  vectors: torch.Tensor) -> torch.Tensor:
    """Write vectors into the chosen cells of a copy of the map.

    Args:
        feature_map: (N, D, s1, s2).
        cells: (N, k) int64, flat row-major, no cell twice; or P packed ones.
        vectors: (N, k, D) or (P, D).

    Returns:
        Tensor: (N, D, s1, s2).
    """
    if isinstance(cells, PackedCells):
        by_cell = feature_map.flatten(2).transpose(1, 2)  # (N, s1·s2, D)
        by_cell = by_cell.index_put((cells.image, cells.cell), vectors.to(feature_map.dtype))
        return by_cell.transpose(1, 2).unflatten(2, feature_map.shape[2:])
    index = cells.unsqueeze(1).expand(-1, feature_map.size(1), -1)  # (N, D, k)
    source = vectors.transpose(1, 2).to(feature_map.dtype)
    return feature_map.flatten(2).scatter(2, index, source).view_as(feature_map)
