"""Paint clutter around a house number: letters, cables, bars and pieces of digits."""

from collections.abc import Callable

import cv2
import numpy as np

from .fonts import LETTERS, TRUETYPE, TrueTypeFont
from .lettering import (
    Lettering,
    Window,
    extent,
    pose,
    set_characters,
    shift,
    stamp,
    warp,
    window_around,
)
from .noise import near
from .signs import paint_ink

_TRIES = 4  # tries to place an object before it is left out
_PIECES = '035'  # digits whose upper or lower part looks like no other digit
_PIECE = 0.42  # height of a piece / height of the digit
_SMALLEST = 8.0  # pixels: smaller letters are only noise
_TONES = (
    (20, 20, 22),
    (60, 60, 62),
    (110, 105, 100),
    (190, 190, 188),
    (235, 235, 232),
    (95, 60, 40),
    (40, 60, 90),
)


def paint_clutter(
    rng: np.random.Generator, image: np.ndarray, keep_free: Window, scale: float, count: int
) -> None:
    """Paint objects that are not the house number, in place.

    Args:
        rng: Source of every choice.
        image: (H, W, 3) float32.
        keep_free: Window that stays free for the number.
        scale: Height of the house number's digits, in pixels.
        count: Number of objects to try.
    """
    for kind in rng.choice(len(_KINDS), count, p=_KIND_ODDS):
        _KINDS[kind](rng, image, keep_free, scale)


def _letters(rng: np.random.Generator, image: np.ndarray, keep_free: Window, scale: float) -> None:
    text = ''.join(rng.choice(list(LETTERS), rng.integers(1, 7)))
    height = max(_SMALLEST, scale * np.exp(rng.normal(-0.1, 0.4)))
    _place(rng, image, keep_free, set_characters(rng, text, _font(rng), height), height)


def _digit_piece(
    rng: np.random.Generator, image: np.ndarray, keep_free: Window, scale: float
) -> None:
    """Paint the upper or lower part of a digit: its local shape without the whole digit."""
    height = max(_SMALLEST, scale * rng.uniform(0.7, 1.3))
    digit = set_characters(rng, rng.choice(list(_PIECES)), _font(rng), height)
    rows = int(_PIECE * len(digit.masks[0]))
    part = (slice(0, rows), slice(-rows, None))[rng.integers(2)]
    piece = digit._replace(masks=[np.ascontiguousarray(digit.masks[0][part])])
    _place(rng, image, keep_free, piece, height)


def _font(rng: np.random.Generator) -> TrueTypeFont:
    return TrueTypeFont(TRUETYPE[rng.integers(len(TRUETYPE))])


def _place(
    rng: np.random.Generator,
    image: np.ndarray,
    keep_free: Window,
    lettering: Lettering,
    height: float,
) -> None:
    """Paint lettering outside of ``keep_free``; the image's border may cut it."""
    matrix = pose(rng, lettering, height)
    size = np.array(extent(matrix, lettering))
    for _ in range(_TRIES):
        y, x = rng.uniform(-0.5 * size, np.array(image.shape[:2]) - 0.5 * size)
        placed = shift(x, y) @ matrix
        window = window_around(warp(placed, lettering.corners()), 0.3 * height, image.shape)
        if not window.meets(keep_free):
            paint_ink(rng, image, stamp(placed, lettering), height)
            return


def _cable(rng: np.random.Generator, image: np.ndarray, keep_free: Window, scale: float) -> None:
    """Paint a cable, pipe or bar from one border to another, straight or hanging."""
    height, width = image.shape[:2]
    thickness = max(1, round(scale * rng.uniform(0.03, 0.25)))
    sag = scale * rng.normal(0, 0.7)
    for _ in range(_TRIES):
        ends = rng.uniform(0, 1, (2, 2)) * (width, height)
        if rng.random() < 0.5:
            ends[:, 0] = (-thickness, width + thickness)
        else:
            ends[:, 1] = (-thickness, height + thickness)
            ends[1, 0] = ends[0, 0] + rng.normal(0, 0.1) * height
        along = np.linspace(0, 1, 17)[:, None]
        points = ends[0] + along * (ends[1] - ends[0])
        points[:, 1:] += sag * 4 * along * (1 - along)
        if not _crosses(points, keep_free, thickness):
            _polyline(rng, image, points, thickness)
            return


def _bars(rng: np.random.Generator, image: np.ndarray, keep_free: Window, scale: float) -> None:
    """Paint a railing: upright strokes side by side, similar to a row of ones."""
    height = scale * rng.uniform(0.6, 3)
    step = scale * rng.uniform(0.25, 0.7)
    count = int(rng.integers(2, 8))
    thickness = max(1, round(scale * rng.uniform(0.05, 0.15)))
    for _ in range(_TRIES):
        x, y = rng.uniform((-step, -0.5 * height), (image.shape[1], image.shape[0]))
        box = np.array([(x, y), (x + step * (count - 1), y + height)])
        if not window_around(box, thickness, image.shape).meets(keep_free):
            colour = near(rng, _TONES[rng.integers(len(_TONES))], 10)
            for left in x + step * np.arange(count):
                _polyline(rng, image, np.array([(left, y), (left, y + height)]), thickness, colour)
            return


def _curl(rng: np.random.Generator, image: np.ndarray, keep_free: Window, scale: float) -> None:
    """Paint ironwork: an arc of a digit's size that never closes to a zero."""
    radii = scale * rng.uniform(0.15, 0.7, 2)
    start = rng.uniform(0, 2 * np.pi)
    angles = np.linspace(start, start + rng.uniform(1, 4.5), 24)
    thickness = max(1, round(scale * rng.uniform(0.05, 0.18)))
    for _ in range(_TRIES):
        centre = rng.uniform((0, 0), image.shape[1::-1])
        points = centre + radii * np.stack([np.cos(angles), np.sin(angles)], 1)
        if not _crosses(points, keep_free, thickness):
            _polyline(rng, image, points, thickness)
            return


def _crosses(points: np.ndarray, keep_free: Window, thickness: float) -> bool:
    return window_around(points, thickness, (1 << 14, 1 << 14)).meets(keep_free) and any(
        cv2.clipLine(_grown(keep_free, thickness), first, second)[0]
        for first, second in zip(_rounded(points[:-1]), _rounded(points[1:]), strict=True)
    )


def _grown(window: Window, margin: float) -> tuple[int, int, int, int]:
    return (
        int(window.left - margin),
        int(window.top - margin),
        int(window.right - window.left + 2 * margin),
        int(window.bottom - window.top + 2 * margin),
    )


def _rounded(points: np.ndarray) -> list[list[int]]:
    return np.round(points).astype(int).tolist()


def _polyline(
    rng: np.random.Generator,
    image: np.ndarray,
    points: np.ndarray,
    thickness: int,
    colour: np.ndarray | None = None,
) -> None:
    """Paint a stroke with a shadow under it."""
    if colour is None:
        colour = near(rng, _TONES[rng.integers(len(_TONES))], 10)
    path = np.round(points).astype(np.int32)
    dark = tuple((colour * 0.4).tolist())
    cv2.polylines(image, [path + max(1, thickness // 3)], False, dark, thickness)
    cv2.polylines(image, [path], False, tuple(colour.tolist()), thickness)


Painter = Callable[[np.random.Generator, np.ndarray, Window, float], None]
_KINDS: tuple[Painter, ...] = (_letters, _digit_piece, _cable, _bars, _curl)
_KIND_ODDS = (0.4, 0.12, 0.14, 0.16, 0.18)
