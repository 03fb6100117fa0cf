"""Set characters in a row, pose them in space and stamp them onto the picture."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from .fonts import Font, glyph, source_size

_INK = 0.5  # a pixel belongs to a glyph from this share of its densest pixel on
# Deviations of a pose: turn in degrees, slant, logarithm of the stretch, and how much nearer one
# side is than the other (horizontally, vertically).
_TURN, _SLANT, _STRETCH, _PERSPECTIVE = 3.5, 0.09, 0.12, (0.07, 0.03)
_NARROWING = 0.75  # SVHN's boxes have width / height 1/2, the fonts' digits 2/3
_MOST_TURN = 14.0  # degrees


class Lettering(NamedTuple):
    """Glyphs in a row, in the pixels in which they were drawn.

    ``masks`` are uint8, ``origins`` (n, 2) are the x and y of their top left corners, and ``size``
    is the height of a digit.
    """

    masks: list[np.ndarray]
    origins: np.ndarray
    size: int

    def corners(self) -> np.ndarray:
        """Return the four corners of each mask, (4n, 2)."""
        sizes = np.array([mask.shape[::-1] for mask in self.masks])
        steps = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
        return (self.origins[:, None] + sizes[:, None] * steps).reshape(-1, 2).astype(np.float64)


class Stamp(NamedTuple):
    """A posed glyph: its cover (h, w), float32 in [0, 1], and the place of its top left pixel."""

    cover: np.ndarray
    left: int
    top: int

    def box(self) -> tuple[int, int, int, int]:
        """Return the tight box of its ink, (left, top, width, height), in whole pixels."""
        ink = self.cover >= _INK * self.cover.max()
        rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
        return (
            self.left + int(columns[0]),
            self.top + int(rows[0]),
            int(columns[-1] - columns[0]) + 1,
            int(rows[-1] - rows[0]) + 1,
        )


def set_characters(
    rng: np.random.Generator, text: str, font: Font, height: float, drift: float = 0.0
) -> Lettering:
    """Set a text that will be shown with digits of about ``height`` pixels.

    Args:
        rng: Source of spacing and weight.
        text: The characters.
        font: A font that has these characters.
        height: Height of a digit in the picture, in pixels.
        drift: How much lower each character is than the one before, in digit heights.
    """
    size = source_size(height)
    gap = size * (rng.uniform(0.04, 0.16) if rng.random() < 0.85 else rng.uniform(0.16, 0.5))
    bolder = round(size * rng.uniform(0.01, 0.03)) if rng.random() < 0.35 else 0
    masks, origins, x = [], [], 0.0
    for position, character in enumerate(text):
        mask, top = glyph(font, character, size)
        if bolder:
            mask = cv2.copyMakeBorder(mask, bolder, bolder, bolder, bolder, cv2.BORDER_CONSTANT)
            brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * bolder + 1,) * 2)
            mask, top = cv2.dilate(mask, brush), top - bolder
        masks.append(mask)
        origins.append((x, top + size * (drift * position + rng.normal(0, 0.008))))
        x += mask.shape[1] + gap
    return Lettering(masks, np.array(origins), size)


def pose(rng: np.random.Generator, lettering: Lettering, height: float) -> np.ndarray:
    """Draw a homography (3, 3) from the lettering to a picture with digits ``height`` high.

    In the picture, the top left corner of the lettering's extent is at (0, 0).
    """
    corners = lettering.corners()
    low, high = corners.min(0), corners.max(0)
    scale = height / lettering.size
    turn = np.radians(np.clip(rng.normal(0, _TURN), -_MOST_TURN, _MOST_TURN))
    stretch = _NARROWING * np.exp(rng.normal(0, _STRETCH))
    nearer = rng.normal(0, _PERSPECTIVE) / np.maximum(high - low, 2 * lettering.size)
    centre = np.array([[1, 0, -(low + high)[0] / 2], [0, 1, -(low + high)[1] / 2], [0, 0, 1]])
    slant = np.array([[stretch, -rng.normal(0, _SLANT), 0], [0, 1, 0], [0, 0, 1 / scale]])
    rotate = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    tilt = np.array([[1, 0, 0], [0, 1, 0], [*nearer, 1]])
    matrix = rotate @ slant @ tilt @ centre
    return shift(*-warp(matrix, corners).min(0)) @ matrix


def shift(x: float, y: float) -> np.ndarray:
    """Return the homography that moves by (x, y)."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def warp(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points (n, 2) by a homography."""
    return cv2.perspectiveTransform(points[None], matrix)[0]


def extent(matrix: np.ndarray, lettering: Lettering) -> tuple[float, float]:
    """Return the height and width of the posed lettering, in pixels of the picture."""
    corners = warp(matrix, lettering.corners())
    width, height = corners.max(0) - corners.min(0)
    return float(height), float(width)


def stamp(matrix: np.ndarray, lettering: Lettering) -> list[Stamp]:
    """Return each glyph as it appears in the picture."""
    stamps = []
    for mask, origin, corners in zip(
        lettering.masks,
        lettering.origins,
        warp(matrix, lettering.corners()).reshape(-1, 4, 2),
        strict=True,
    ):
        low = np.floor(corners.min(0)).astype(int) - 1
        width, height = (np.ceil(corners.max(0)).astype(int) + 2 - low).tolist()
        onto = shift(*-low.astype(float)) @ matrix @ shift(*origin)
        cover = cv2.warpPerspective(mask, onto, (width, height), flags=cv2.INTER_LINEAR)
        stamps.append(Stamp(cover.astype(np.float32) / 255, int(low[0]), int(low[1])))
    return stamps


class Window(NamedTuple):
    """A rectangle of the picture, given by its edges in pixels."""

    left: int
    top: int
    right: int
    bottom: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """Return the view of an (H, W, ...) image inside of the window."""
        return image[self.top : self.bottom, self.left : self.right]

    def meets(self, other: 'Window') -> bool:
        """Return whether the two windows share a pixel."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def window_around(points: np.ndarray, margin: float, shape: Sequence[int]) -> Window:
    """Return the window of an image of ``shape`` around points (n, 2); it may be empty."""
    low = np.floor(points.min(0) - margin).astype(int)
    high = np.ceil(points.max(0) + margin).astype(int) + 1
    left, top = np.maximum(low, 0).tolist()
    right, bottom = np.minimum(high, shape[1::-1]).tolist()
    return Window(left, top, max(left, right), max(top, bottom))


def cover_window(stamps: Sequence[Stamp], window: Window) -> np.ndarray:
    """Return how much ink covers each pixel of a window, (h, w) float32."""
    cover = np.zeros((window.bottom - window.top, window.right - window.left), np.float32)
    for one in stamps:
        height, width = one.cover.shape
        top, left = max(one.top, window.top), max(one.left, window.left)
        bottom, right = min(one.top + height, window.bottom), min(one.left + width, window.right)
        if top < bottom and left < right:
            part = cover[
                top - window.top : bottom - window.top, left - window.left : right - window.left
            ]
            np.maximum(
                part,
                one.cover[top - one.top : bottom - one.top, left - one.left : right - one.left],
                out=part,
            )
    return cover
