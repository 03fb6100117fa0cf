"""Paint the house number with its plate, and other lettering, onto walls."""

from collections.abc import Sequence

import cv2
import numpy as np

from .lettering import Lettering, Stamp, Window, cover_window, warp, window_around
from .noise import blend, luma, near

_INKS = (
    (20, 20, 22),
    (240, 240, 238),
    (60, 40, 25),
    (190, 150, 70),
    (185, 188, 192),
    (30, 50, 120),
    (150, 30, 30),
    (30, 80, 50),
    (225, 200, 90),
    (90, 92, 95),
)
_PLATES = (
    (235, 235, 230),
    (30, 60, 140),
    (25, 25, 28),
    (35, 75, 55),
    (180, 150, 80),
    (110, 70, 40),
    (140, 30, 30),
    (225, 210, 170),
    (170, 172, 175),
    (70, 85, 100),
)
_PLATE_ODDS = 0.45
# Contrasts of brightness, where white is 255. Ink with this contrast to its background stays
# legible in shade and noise. If the wall under the number varies more than this, it gets a plate.
_CONTRAST, _FAINT_CONTRAST = 75.0, 40.0
_MOST_VARIED = 70.0


def paint_number(
    rng: np.random.Generator,
    image: np.ndarray,
    stamps: Sequence[Stamp],
    matrix: np.ndarray,
    lettering: Lettering,
    height: float,
) -> None:
    """Paint a house number onto a picture, on a plate or directly on the wall, in place.

    Args:
        rng: Source of the look.
        image: (H, W, 3) float32.
        stamps: The digits at their places.
        matrix: The homography that placed them.
        lettering: The lettering that was placed.
        height: Height of a digit, in pixels.
    """
    under = window_around(warp(matrix, lettering.corners()), 0, image.shape).of(image)
    low, high = np.percentile(luma(under), (10, 90))
    if rng.random() < _PLATE_ODDS or high - low > _MOST_VARIED:
        _paint_plate(rng, image, matrix, lettering, height)
    paint_ink(rng, image, stamps, height, _CONTRAST)


def paint_ink(
    rng: np.random.Generator,
    image: np.ndarray,
    stamps: Sequence[Stamp],
    height: float,
    contrast: float = _FAINT_CONTRAST,
) -> None:
    """Paint characters in place, sometimes with shadow, outline or relief.

    Args:
        rng: Source of the look.
        image: (H, W, 3) float32.
        stamps: The characters. Parts outside of the image are cut off.
        height: Height of a digit, in pixels.
        contrast: Difference in brightness between ink and background, where white is 255.
    """
    corners = np.array(
        [
            (one.left + x * one.cover.shape[1], one.top + y * one.cover.shape[0])
            for one in stamps
            for x in (0, 1)
            for y in (0, 1)
        ]
    )
    window = window_around(corners, 0.3 * height, image.shape)
    view = window.of(image)
    if not view.size:
        return
    cover = cover_window(stamps, window)
    colour = _legible_ink(rng, view, cover, contrast)
    if rng.random() < 0.35:
        _shade(rng, view, cover, height)
    if height > 20 and rng.random() < 0.15:
        _outline(rng, view, cover, height, colour)
    paint = np.broadcast_to(colour, view.shape)
    if rng.random() < 0.35:
        paint = paint + _relief(rng, cover, height)[..., None]
    blend(view, cover * rng.uniform(0.9, 1), paint)


def _legible_ink(
    rng: np.random.Generator, view: np.ndarray, cover: np.ndarray, contrast: float
) -> np.ndarray:
    """Choose a colour that contrasts with its background."""
    under = luma(view[cover > 0.2]) if (cover > 0.2).any() else luma(view)
    low, high = np.percentile(under, (5, 95))
    for choice in rng.permutation(len(_INKS)):
        colour = near(rng, _INKS[choice], 12)
        if luma(colour) >= high + contrast or luma(colour) <= low - contrast:
            return colour
    return np.full(3, 250.0 if 255 - high > low else 8.0, np.float32)


def _shade(rng: np.random.Generator, view: np.ndarray, cover: np.ndarray, height: float) -> None:
    """Paint the shadow of raised digits."""
    x, y = rng.uniform(-0.09, 0.09, 2) * height
    move = np.array([[1, 0, x], [0, 1, abs(y)]])
    cast = cv2.warpAffine(cover, move, cover.shape[::-1])
    cast = cv2.GaussianBlur(cast, (0, 0), max(0.4, height * rng.uniform(0.01, 0.05)))
    view *= 1 - rng.uniform(0.25, 0.6) * cast[..., None]


def _outline(
    rng: np.random.Generator, view: np.ndarray, cover: np.ndarray, height: float, ink: np.ndarray
) -> None:
    """Paint a thin outline of opposite brightness, which keeps the digits' shape."""
    brush = np.ones((2 * max(1, round(height * 0.03)) + 1,) * 2, np.uint8)
    tone = 15.0 if luma(ink) > 128 else 235.0
    blend(view, cv2.dilate(cover, brush), near(rng, (tone, tone, tone), 10))


def _relief(rng: np.random.Generator, cover: np.ndarray, height: float) -> np.ndarray:
    """Return a relief with light upper edges and dark lower edges, as on cast metal."""
    soft = cv2.GaussianBlur(cover, (0, 0), max(0.5, height * rng.uniform(0.015, 0.04)))
    slope = cv2.Sobel(soft, cv2.CV_32F, 1, 0) * rng.uniform(-1, 1) + cv2.Sobel(
        soft, cv2.CV_32F, 0, 1
    )
    return slope * rng.uniform(10, 35)


def _paint_plate(
    rng: np.random.Generator,
    image: np.ndarray,
    matrix: np.ndarray,
    lettering: Lettering,
    height: float,
) -> None:
    """Paint a plate behind the lettering, in the same pose."""
    corners = lettering.corners()
    margin = rng.uniform((0.2, 0.15), (0.7, 0.5)) * lettering.size
    low, high = corners.min(0) - margin, corners.max(0) + margin
    roundness = rng.choice((2.5, 5.0, 12.0, 40.0), p=(0.15, 0.2, 0.35, 0.3))
    window = window_around(warp(matrix, _rounded(low, high, roundness)), 0.2 * height, image.shape)
    view = window.of(image)
    colour = near(rng, _PLATES[rng.integers(len(_PLATES))], 12)

    def filled(inset: float, move: float = 0.0) -> np.ndarray:
        outline = _rounded(low + inset, high - inset, roundness) + move
        return _fill(warp(matrix, outline), window)

    drop = lettering.size * rng.uniform(0.01, 0.1)
    view *= 1 - rng.uniform(0.2, 0.6) * filled(0.0, drop)[..., None]
    blend(view, filled(0.0), colour * rng.uniform(0.75, 1.05))
    rim = _rim(rng, colour)
    if rim is not None:
        inset = lettering.size * rng.uniform(0.03, 0.07)
        blend(view, filled(inset), rim)
        inset *= 2
        blend(view, filled(inset), colour)
    if rng.random() < 0.3:
        _screws(
            rng,
            view,
            matrix,
            low + 0.09 * lettering.size,
            high - 0.09 * lettering.size,
            height,
            window,
        )


def _rim(rng: np.random.Generator, colour: np.ndarray) -> np.ndarray | None:
    if rng.random() < 0.5:
        return None
    tone = 30.0 if luma(colour) > 128 else 225.0
    return near(rng, (tone, tone, tone), 12)


def _rounded(low: np.ndarray, high: np.ndarray, roundness: float) -> np.ndarray:
    """Return the outline of a box between two corners, as a superellipse."""
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    unit = np.stack([np.cos(angles), np.sin(angles)], 1)
    unit = np.sign(unit) * np.abs(unit) ** (2 / roundness)
    return (low + high) / 2 + unit * (high - low) / 2


def _fill(outline: np.ndarray, window: Window) -> np.ndarray:
    """Return how much a polygon covers each pixel of a window."""
    mask = np.zeros((window.bottom - window.top, window.right - window.left), np.uint8)
    points = np.round((outline - (window.left, window.top)) * 16).astype(np.int32)
    cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, shift=4)
    return mask.astype(np.float32) / 255


def _screws(
    rng: np.random.Generator,
    view: np.ndarray,
    matrix: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    height: float,
    window: Window,
) -> None:
    places = np.array([(low[0], (low[1] + high[1]) / 2), (high[0], (low[1] + high[1]) / 2)])
    shade = float(rng.uniform(40, 200))
    for x, y in warp(matrix, places) - (window.left, window.top):
        cv2.circle(view, (round(x), round(y)), max(1, round(0.03 * height)), (shade,) * 3, -1)
