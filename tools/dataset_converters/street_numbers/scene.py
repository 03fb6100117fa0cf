"""Make one picture of a house number from a seed, a subset's name and an index."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .camera import photograph
from .clutter import paint_clutter
from .digit_struct_writer import DigitBox
from .fonts import DIGITS, STROKES, TRUETYPE, Font, TrueTypeFont
from .lettering import Stamp, extent, pose, set_characters, shift, stamp, warp, window_around
from .signs import paint_number
from .walls import paint_street

_BLOCK = 200  # images per block; each block has the exact share of each length
# Probabilities of the first digit, 0 to 9: small numbers are more common in a street.
_FIRST_DIGIT = np.array((0.01, 0.24, 0.16, 0.13, 0.11, 0.09, 0.08, 0.07, 0.06, 0.05))
_STROKE_FONT_ODDS = 0.25
_STAIRS_ODDS = 0.06  # probability that the digits go up or down like stairs
_BORDER = 1.0  # least number of pixels between a number and the image's border
_CROWDING = 0.8  # exponent of the clutter over the area: large images have emptier walls
_MOST_CLUTTER = 60  # objects per image; this limits the time per image
_FREE = 0.35  # margin around the number without clutter, in digit heights


@dataclass(frozen=True)
class Subset:
    """The look of a subset's images.

    Args:
        stream: Number that gives each subset its own random choices.
        lengths: Counts of numbers with 1, 2, 3, 4 and 5 digits in each block of 200 images. They
            follow SVHN, but with at least one number of 5 digits, so that small subsets have some.
        median_height: Median height of the images, in pixels.
        height_spread: Deviation of the logarithm of the height.
        median_aspect: Median of width / height.
        aspect_spread: Deviation of the logarithm of width / height.
        smallest: Least height and width, in pixels.
        largest: Greatest height and width, in pixels.
        fill: Range of a digit's height / the image's height, as far as ``digit_height`` allows.
        digit_height: Range of a digit's height in pixels; if None, ``fill`` alone determines it.
        off_centre: Largest shift of the number from the centre, as a share of the free space.
        clutter: Number of objects in an image of 16 squared digit heights; larger images have more.
        wear: How bad the photographs are.
    """

    stream: int
    lengths: tuple[int, int, int, int, int]
    median_height: float
    height_spread: float
    median_aspect: float
    aspect_spread: float
    smallest: tuple[int, int]
    largest: tuple[int, int]
    fill: tuple[float, float]
    digit_height: tuple[float, float] | None
    off_centre: float
    clutter: float
    wear: float


SUBSETS = {
    'train': Subset(
        stream=0,
        lengths=(30, 108, 52, 9, 1),
        median_height=44.0,
        height_spread=0.5,
        median_aspect=2.1,
        aspect_spread=0.2,
        smallest=(25, 30),
        largest=(500, 1000),
        fill=(0.5, 0.85),
        digit_height=None,
        off_centre=0.35,
        clutter=4.0,
        wear=1.0,
    ),
    'extra': Subset(
        stream=1,
        lengths=(9, 71, 105, 14, 1),
        median_height=48.0,
        height_spread=0.45,
        median_aspect=1.9,
        aspect_spread=0.2,
        smallest=(25, 30),
        largest=(500, 1000),
        fill=(0.5, 0.85),
        digit_height=None,
        off_centre=0.3,
        clutter=3.0,
        wear=0.6,
    ),
    'test': Subset(
        stream=2,
        lengths=(38, 127, 32, 2, 1),
        median_height=52.0,
        height_spread=0.75,
        median_aspect=2.3,
        aspect_spread=0.28,
        smallest=(26, 32),
        largest=(442, 1083),
        fill=(0.55, 0.85),
        digit_height=(18.0, 100.0),
        off_centre=1.0,
        clutter=3.0,
        wear=1.0,
    ),
}


class StreetNumber(NamedTuple):
    """A picture, (H, W, 3) uint8 RGB, and its digits from left to right."""

    image: np.ndarray
    boxes: list[DigitBox]


def make_street_number(seed: int, subset: str, index: int) -> StreetNumber:
    """Make the picture of a house number.

    The picture depends on the three arguments alone.

    Args:
        seed: At least 0.
        subset: ``'train'``, ``'extra'`` or ``'test'``.
        index: Place in the subset, from 0.

    Raises:
        KeyError: There is no such subset.
    """
    spec = SUBSETS[subset]
    rng = np.random.default_rng((seed, spec.stream, index))
    text = _text(rng, number_length(seed, subset, index))
    height, width = _size(rng, spec)
    digit = _digit_height(rng, spec, height)
    drift = rng.choice((-1, 1)) * rng.uniform(0.2, 0.5) if rng.random() < _STAIRS_ODDS else 0.0
    lettering = set_characters(rng, text, _font(rng), digit, drift)
    matrix = pose(rng, lettering, digit)

    needed = np.array(extent(matrix, lettering))
    size = np.maximum((height, width), np.ceil(needed + 2 + 2 * _BORDER + 0.15 * digit)).astype(int)
    space = (size - needed) / 2 - _BORDER - 1
    top, left = (size - needed) / 2 + rng.uniform(-1, 1, 2) * spec.off_centre * space
    matrix = shift(left, top) @ matrix
    stamps = stamp(matrix, lettering)

    image = paint_street(rng, tuple(size.tolist()), digit)
    free = window_around(warp(matrix, lettering.corners()), _FREE * digit, image.shape)
    things = rng.poisson(spec.clutter * (size.prod() / (16 * digit**2)) ** _CROWDING)
    paint_clutter(rng, image, free, digit, min(int(things), _MOST_CLUTTER))
    paint_number(rng, image, stamps, matrix, lettering, digit)
    image = photograph(rng, image, digit, spec.wear)
    return StreetNumber(image, [_box(label, one) for label, one in zip(text, stamps, strict=True)])


def number_length(seed: int, subset: str, index: int) -> int:
    """Return an image's number of digits; each block of 200 has exactly the subset's shares."""
    spec = SUBSETS[subset]
    block, place = divmod(index, _BLOCK)
    rng = np.random.default_rng((seed, spec.stream, block, 1))
    return int(rng.permutation(np.repeat(np.arange(1, 6), spec.lengths))[place])


def _text(rng: np.random.Generator, length: int) -> str:
    first = rng.choice(10, p=_FIRST_DIGIT)
    return ''.join(DIGITS[digit] for digit in (first, *rng.integers(0, 10, length - 1)))


def _font(rng: np.random.Generator) -> Font:
    if rng.random() < _STROKE_FONT_ODDS:
        return STROKES[rng.integers(len(STROKES))]
    return TrueTypeFont(TRUETYPE[rng.integers(len(TRUETYPE))])


def _size(rng: np.random.Generator, spec: Subset) -> tuple[int, int]:
    """Draw height and width until they are in the subset's range."""
    while True:
        height = spec.median_height * np.exp(rng.normal(0, spec.height_spread))
        width = height * spec.median_aspect * np.exp(rng.normal(0, spec.aspect_spread))
        size = (round(height), round(width))
        if all(
            low <= length <= high
            for low, length, high in zip(spec.smallest, size, spec.largest, strict=True)
        ):
            return size


def _digit_height(rng: np.random.Generator, spec: Subset, height: int) -> float:
    filling = rng.uniform(*spec.fill) * height
    if spec.digit_height is None:
        return filling
    return min(filling, np.exp(rng.uniform(*np.log(spec.digit_height))))


def _box(digit: str, one: Stamp) -> DigitBox:
    left, top, width, height = one.box()
    return DigitBox(height=height, left=left, top=top, width=width, label=int(digit) or 10)
