"""Shrink images band by band, from the level of a pyramid that suits best."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from mmdcn.structures import resize_to
from mmdcn.structures.view import ROWS

_ROUNDING = 1e-6  # relative error of a scale such as 1 / 3


class Level(NamedTuple):
    """An image at one resolution.

    Attributes:
        size: Height and width in pixels.
        ratio: Rows and columns of the full image in one row and column of this level.
        rows: How many rows are best read at a time.
    """

    size: tuple[int, int]
    ratio: tuple[float, float]
    rows: int


def find_ratio(size: tuple[int, int], full: tuple[int, int]) -> tuple[float, float] | None:
    """Find how many pixels of the full image one pixel of a level stands for, down and across.

    The sizes of levels are rounded, at each halving anew. So the ratio is the integer that explains
    the sizes up to a pixel, a power of two if several do, and else the ratio of the sizes.

    Args:
        size: Height and width of the level.
        full: Height and width of the full image.

    Returns:
        tuple: The ratios, at least 1; None if height and width disagree by more than a pixel.
    """
    longer = int(full[1] > full[0])
    if min(size) < 1 or any(part > whole for part, whole in zip(size, full, strict=True)):
        return None
    ratio = full[longer] / size[longer]
    power = 2 ** round(math.log2(ratio))
    for whole in (power, 2 * power, round(ratio)):
        if whole > 1 and all(abs(f / whole - s) <= 1 for f, s in zip(full, size, strict=True)):
            return float(whole), float(whole)
    if abs(full[1 - longer] / ratio - size[1 - longer]) <= 1:
        return full[0] / size[0], full[1] / size[1]
    return None


def choose_level(levels: Sequence[Level], scale: float) -> int:
    """Return the place of the smallest level that has all pixels of an overview at this scale.

    Args:
        levels: The levels in any order; the first is the full image.
        scale: Share of height and width that remains, within (0, 1].
    """
    most = (1 + _ROUNDING) / scale
    fitting = [place for place, level in enumerate(levels) if max(level.ratio) <= most]
    return max(fitting, key=lambda place: levels[place].ratio, default=0)


def shrink_bands(
    read: Callable[[int, int], np.ndarray],
    level: Level,
    channels: int,
    target: tuple[int, int],
    scale: float,
) -> np.ndarray:
    """Shrink a level as ``mmdcn.structures.shrink`` does, reading a few rows at a time.

    From the full image, the result equals that of ``shrink`` bit by bit.

    Args:
        read: Returns some of the level's rows, (top, number) -> (number, w, C).
        level: The level.
        channels: Channels of a pixel, C.
        target: Height and width of the result.
        scale: Pixels of the result for each pixel of the full image, down and across.

    Returns:
        np.ndarray: (height, width, C) float32.
    """
    down, across = (scale * ratio for ratio in level.ratio)
    out = np.empty((*target, channels), np.float32)
    if (down, across) == (1, 1):
        for top, band in _bands(read, level, target):
            rows = out[top : top + len(band)]
            rows[:] = band[: len(rows), : target[1]]
        return out
    needed = (_needed(target[0], down), _needed(target[1], across))
    # With a whole number of rows for each row of the result, a part of the rows gives the same
    # weights as all of them. Otherwise all narrow rows are kept for one step down.
    step = _whole(1 / down)
    start, done = 0, 0  # the first row that is kept, and the rows of the result that are written
    kept: list[torch.Tensor] = []
    for top, band in _bands(read, level, needed):
        for few in np.split(band, range(ROWS, len(band), ROWS)):
            planes = torch.from_numpy(few.transpose(2, 0, 1).astype(np.float32, order='C'))
            kept.append(resize_to(planes[None], (len(few), target[1]), (1.0, across)))
        known = top + len(band)
        if known >= max(level.size[0], needed[0]):
            ready = target[0]
        else:
            ready = min(known // step - 1, target[0]) if step else 0
        if ready <= done:
            continue
        first = start // step if step else 0
        narrow = torch.cat(kept, 2)  # (1, C, rows, width)
        short = resize_to(narrow, (ready - first, target[1]), (down, 1.0))
        out[done:ready] = short[0, :, done - first :].permute(1, 2, 0).numpy()
        # The filter of the next row reaches one row of the result back.
        done, begin = ready, (ready - 1) * (step or 0)
        kept, start = [narrow[:, :, begin - start :].clone()], begin
    return out


def _bands(
    read: Callable[[int, int], np.ndarray], level: Level, needed: tuple[int, int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield bands of rows, with the border repeated where rounding took a row or column away."""
    height, width = level.size
    below, beside = max(0, needed[0] - height), max(0, needed[1] - width)
    for top in range(0, height, level.rows):
        band = read(top, min(level.rows, height - top))
        last = top + len(band) == height
        if beside or (below and last):
            band = np.pad(band, ((0, below if last else 0), (0, beside), (0, 0)), mode='edge')
        yield top, band


def _needed(length: int, scale: float) -> int:
    return math.ceil(length / scale * (1 - _ROUNDING))


def _whole(step: float) -> int | None:
    """Return the step as an integer if it is one in float32, in which torch places its filter."""
    return int(np.float32(step)) if np.float32(step).is_integer() else None
