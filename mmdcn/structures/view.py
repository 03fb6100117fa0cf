"""The interface that gives pixels to a model."""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F

from .ragged import Ragged, join, parts_of
from .tables import made_once
from .windows import Windows

# Torch can hardly compute with these types; to copy their bits is enough for windows.
_BITS = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}
ROWS = 64  # rows of an image that are converted to float32 at a time


class View(Protocol):
    """Images in any storage. The pixels that it returns are ready for a tower."""

    def overview(self, scale: float) -> torch.Tensor | Ragged:
        """Return the whole images, shrunk: (N, C, ⌊H·scale⌋, ⌊W·scale⌋)."""

    def cut(self, windows: Windows) -> torch.Tensor:
        """Return the pixels of P windows, (P, C, h, w), with zeros outside of the images."""


class PixelView:
    """Images in memory.

    Args:
        images: (N, C, H, W) of any type; :class:`Ragged` if they differ in size.
        normalize: Prepares pixels for a tower, (M, C, h, w) -> (M, C, h, w); by default, they are
            ready.
    """

    def __init__(
        self,
        images: torch.Tensor | Ragged,
        normalize: Callable[[torch.Tensor], torch.Tensor] = lambda pixels: pixels,
    ) -> None:
        self.images = images
        self._ready = normalize

    def overview(self, scale: float) -> torch.Tensor | Ragged:
        """Return the whole images, shrunk: (N, C, ⌊H·scale⌋, ⌊W·scale⌋).

        Raises:
            ValueError: The scale leaves less than one pixel of an image.
        """
        return join([self._ready(shrink(part, scale)) for part in parts_of(self.images)])

    def cut(self, windows: Windows) -> torch.Tensor:
        """Return the pixels of P windows, (P, C, h, w), with zeros outside of the images."""
        parts = parts_of(self.images)
        if len(parts) == 1:
            return self._ready(gather_windows(parts[0], windows))
        first = torch.tensor([0, *map(len, parts)]).cumsum(0)
        places = torch.searchsorted(windows.image.cpu(), first).tolist()  # waits once
        cut = [
            gather_windows(
                part,
                Windows(windows.image[of_part] - start, windows.corners[of_part], windows.size),
            )
            for part, start, of_part in zip(
                parts, first.tolist(), map(slice, places, places[1:]), strict=False
            )
        ]
        return self._ready(torch.cat(cut))


def gather_windows(images: torch.Tensor, windows: Windows) -> torch.Tensor:
    """Cut windows out of images with one gather.

    This copies neither whole images nor all of their windows.

    Args:
        images: (N, C, H, W), of any type.
        windows: P windows at any place.

    Returns:
        Tensor: (P, C, h, w), with the images' type and zeros outside of the images.
    """
    if images.dtype in _BITS:
        return gather_windows(images.view(_BITS[images.dtype]), windows).view(images.dtype)
    (_, channels, height, width), device = images.shape, images.device
    offsets, down, across = _window_tables(windows.size, channels, height, width, device)
    top, left = windows.corners.unbind(dim=1)
    first = windows.image * (channels * height * width) + top * width + left
    pixels = (first.unsqueeze(1) + offsets).clamp(0, images.numel() - 1)  # (P, C·h·w)
    rows, columns = top.unsqueeze(1) + down, left.unsqueeze(1) + across  # (P, h) and (P, w)
    inside = (rows == rows.clamp(0, height - 1)).unsqueeze(2) & (
        columns == columns.clamp(0, width - 1)
    ).unsqueeze(1)
    found = images.reshape(-1).index_select(0, pixels.flatten())
    # Not a product: what is read in place of pixels outside may be no number.
    return torch.where(inside.unsqueeze(1), found.view(-1, channels, *windows.size), 0)


@made_once
def _window_tables(
    size: tuple[int, int], channels: int, height: int, width: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute what all windows of one size share in images of one size.

    Returns:
        tuple: The offset in memory of each pixel from the window's first pixel, (C·h·w,), and the
        rows (h,) and columns (w,) of a window.
    """
    down, across = (torch.arange(length, device=device) for length in size)
    planes = torch.arange(channels, device=device) * (height * width)
    offsets = planes[:, None, None] + down[:, None] * width + across
    return offsets.flatten(), down, across


def shrink(images: torch.Tensor, scale: float) -> torch.Tensor:
    """Shrink images without aliasing: bilinear, and each pixel averages those that it replaces.

    Args:
        images: (N, C, H, W) of any type.
        scale: Share of height and width that remains, within (0, 1].

    Returns:
        Tensor: (N, C, ⌊H·scale⌋, ⌊W·scale⌋), float64 for float64 and float32 for all other types.
        At a scale of 1, the images themselves.

    Raises:
        ValueError: The scale leaves less than one pixel of an image.
    """
    if scale == 1:
        return images
    if not torch.compiler.is_compiling():
        shrunk_size((images.size(-2), images.size(-1)), scale)
    if images.dtype in (torch.float32, torch.float64):
        return _resize(images, (scale, scale))
    if torch.compiler.is_compiling() or images.is_cuda:
        return _resize(images.float(), (scale, scale))
    # A copy of all pixels in float32 would take more memory than the shrunk image and time to fill.
    narrow = images.new_empty((*images.shape[:3], int(images.size(3) * scale)), dtype=torch.float32)
    for rows, out in zip(images.split(ROWS, 2), narrow.split(ROWS, 2), strict=True):
        out.copy_(_resize(rows.float(), (1, scale)))
    return _resize(narrow, (scale, 1))


def shrunk_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the height and width that ``shrink`` leaves of an image.

    Raises:
        ValueError: The scale leaves less than one pixel of an image.
    """
    height, width = (int(length * scale) for length in size)
    if min(height, width) < 1:
        raise ValueError(
            f'Of an image of {size[0]}×{size[1]} pixels nothing is left at a scale of {scale}: '
            'enlarge the image.'
        )
    return height, width


def resize_to(
    images: torch.Tensor, size: tuple[int, int], scales: tuple[float, float]
) -> torch.Tensor:
    """Resize images as ``shrink`` does, with the size of the result apart from the scales.

    Args:
        images: (N, C, H, W) float32.
        size: Height and width of the result. Pixels that it lacks are those at the lower and right
            border.
        scales: Pixels of the result for each pixel of the images, down and across.
    """
    return torch.ops.aten._upsample_bilinear2d_aa(images, size, False, *scales)


def _resize(images: torch.Tensor, scales: tuple[float, float]) -> torch.Tensor:
    return F.interpolate(images, scale_factor=scales, mode='bilinear', antialias=True)
