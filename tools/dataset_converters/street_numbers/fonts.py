"""Draw characters as masks, with matplotlib's TrueType fonts or painted strokes."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

DIGITS = '0123456789'
# Letters must not look like digits, so O, I, l, S, Z, B and similar ones are left out.
LETTERS = 'ACDEFHKLMNPRTUVWXYaehkmnprtuvwx'

# OpenCV's putText is not used: OpenCV 5 replaced its Hershey fonts, so the same call draws other
# digits there. StrokeFont looks similar to the Hershey fonts.
TRUETYPE = (
    'DejaVuSans',
    'DejaVuSans-Bold',
    'DejaVuSans-Oblique',
    'DejaVuSans-BoldOblique',
    'DejaVuSansMono-Bold',
    'DejaVuSerif',
    'DejaVuSerif-Bold',
    'DejaVuSerif-Italic',
    'DejaVuSerif-BoldItalic',
    'STIXGeneral',
    'STIXGeneralBol',
    'STIXGeneralItalic',
    'STIXGeneralBolIta',
    'cmb10',
    'cmr10',
    'cmss10',
    'cmti10',
    'cmtt10',
)
# A glyph is drawn at the first of these heights, in pixels, that is large enough. So it is never
# shrunk by half or more, and each process draws it only once.
SIZES = (24, 36, 54, 80, 120, 180, 270, 400)
_INK = 128  # mask values from here on belong to the glyph


class Glyph(NamedTuple):
    """A character's mask, cropped to its ink.

    ``mask`` is (h, w) uint8. ``top`` is the position of its first row relative to the baseline, in
    pixels, negative above it.
    """

    mask: np.ndarray
    top: int


@dataclass(frozen=True)
class TrueTypeFont:
    """A font of matplotlib, named by its file without folder and suffix."""

    name: str

    def glyph(self, character: str, size: int) -> Glyph:
        """Draw a glyph at a size where a digit is about ``size`` pixels high."""
        font = _truetype(self.name, size)
        canvas = Image.new('L', (3 * size, 3 * size))
        ImageDraw.Draw(canvas).text((size, 2 * size), character, 255, font, anchor='ls')
        return _cropped(np.asarray(canvas), baseline=2 * size)


@dataclass(frozen=True)
class StrokeFont:
    """Digits painted with a round brush. This font has no letters.

    Args:
        width: Width of a digit / its height.
        weight: Thickness of the brush / the digit's height.
        squareness: Exponent of the curves: 2 draws ellipses, larger values draw rounded boxes.
    """

    width: float
    weight: float
    squareness: float

    def glyph(self, character: str, size: int) -> Glyph:
        """Draw a glyph at a size where a digit is about ``size`` pixels high."""
        brush = max(1, round(self.weight * size))
        inner = size - brush
        canvas = np.zeros((2 * size, 2 * size), np.uint8)
        scale = (self.width * size - brush / 2, inner)
        for stroke in _strokes(self.squareness)[character]:
            points = stroke * scale + (size / 4, brush / 2 + size / 4)
            cv2.polylines(
                canvas,
                [np.round(points * 16).astype(np.int32)],
                False,
                255,
                brush,
                cv2.LINE_AA,
                shift=4,
            )
        return _cropped(canvas, baseline=size + size // 4)


Font = TrueTypeFont | StrokeFont
STROKES = tuple(
    StrokeFont(width, weight, squareness)
    for width in (0.5, 0.62)
    for weight in (0.09, 0.13, 0.17)
    for squareness in (2.0, 2.6, 5.0)
)


@lru_cache(maxsize=4096)
def glyph(font: Font, character: str, size: int) -> Glyph:
    """Return a glyph, drawn once per process. Do not write into its mask."""
    return font.glyph(character, size)


def source_size(height: float) -> int:
    """Return the height at which to draw glyphs that are shown ``height`` pixels high."""
    return next((size for size in SIZES if size >= height), SIZES[-1])


@lru_cache(maxsize=256)
def _truetype(name: str, size: int) -> ImageFont.FreeTypeFont:
    path = str(Path(matplotlib.get_data_path(), 'fonts', 'ttf', f'{name}.ttf'))
    _, top, _, bottom = ImageFont.truetype(path, 100).getbbox('8')
    return ImageFont.truetype(path, round(100 * size / (bottom - top)))


def _cropped(canvas: np.ndarray, baseline: int) -> Glyph:
    rows, columns = (np.flatnonzero((canvas >= _INK).any(axis)) for axis in (1, 0))
    mask = canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Glyph(mask.copy(), int(rows[0]) - baseline)


def _arc(
    centre: tuple[float, float],
    radii: tuple[float, float],
    start: float,
    stop: float,
    squareness: float,
) -> np.ndarray:
    """Return points of a superellipse's arc; angles in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, stop, 33))
    unit = np.stack([np.cos(angles), np.sin(angles)], 1)
    return np.sign(unit) * np.abs(unit) ** (2 / squareness) * radii + centre


@lru_cache(maxsize=16)
def _strokes(squareness: float) -> dict[str, list[np.ndarray]]:
    """Return each digit's strokes in the unit square, with y pointing down."""

    def arc(x, y, rx, ry, start, stop):
        return _arc((x, y), (rx, ry), start, stop, squareness)

    def line(*points):
        return np.array(points, float)

    six = [
        np.concatenate([line((0.8, 0.0)), arc(0.75, 0.68, 0.75, 0.6, 268, 180)]),
        arc(0.5, 0.68, 0.5, 0.32, 0, 360),
    ]
    return {
        '0': [arc(0.5, 0.5, 0.5, 0.5, 0, 360)],
        '1': [line((0.2, 0.22), (0.6, 0.0), (0.6, 1.0))],
        '2': [np.concatenate([arc(0.5, 0.29, 0.46, 0.29, 185, 390), line((0.0, 1.0), (1.0, 1.0))])],
        '3': [
            np.concatenate(
                [arc(0.47, 0.25, 0.45, 0.25, 200, 450), arc(0.47, 0.74, 0.52, 0.26, 270, 520)]
            )
        ],
        '4': [line((0.72, 1.0), (0.72, 0.0), (0.0, 0.7), (1.0, 0.7))],
        '5': [
            np.concatenate(
                [
                    line((0.92, 0.0), (0.14, 0.0), (0.08, 0.45)),
                    arc(0.46, 0.68, 0.52, 0.32, 232, 510),
                ]
            )
        ],
        '6': six,
        '7': [line((0.0, 0.0), (1.0, 0.0), (0.35, 1.0))],
        '8': [arc(0.5, 0.24, 0.42, 0.24, 0, 360), arc(0.5, 0.74, 0.5, 0.26, 0, 360)],
        '9': [1 - stroke for stroke in six],
    }
