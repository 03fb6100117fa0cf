"""Paint backgrounds of house numbers: textured walls, doors, windows and leaves."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from .noise import Size, blend, near, smooth_noise

_PLASTER = (
    (205, 195, 175),
    (180, 160, 130),
    (225, 225, 220),
    (150, 145, 140),
    (190, 150, 120),
    (120, 130, 140),
    (215, 200, 150),
    (95, 90, 85),
)
_BRICK = ((150, 75, 55), (170, 105, 80), (120, 60, 50), (185, 150, 120), (110, 95, 90))
_WOOD = ((140, 95, 60), (90, 60, 40), (200, 195, 185), (80, 100, 120), (170, 130, 90), (60, 70, 60))
_DOOR = ((90, 30, 30), (35, 55, 45), (40, 45, 75), (230, 228, 222), (110, 75, 45), (45, 45, 48))
_LEAF = ((55, 85, 35), (80, 110, 50), (40, 60, 30), (110, 120, 60))
_GLASS = ((40, 48, 55), (70, 80, 90), (120, 135, 150), (25, 25, 30))
# An image is divided into at most _MOST_WALLS walls, each about this many digit heights wide.
_WALL_WIDTH = 6.0
_MOST_WALLS = 4


def paint_street(rng: np.random.Generator, size: Size, scale: float) -> np.ndarray:
    """Paint a background of one or several walls side by side, (H, W, 3) float32.

    Args:
        rng: Source of every choice.
        size: Height and width.
        scale: Height of the house number's digits, in pixels, which sets the size of bricks and
            boards.
    """
    height, width = size
    most = int(np.clip(width / (_WALL_WIDTH * scale), 1, _MOST_WALLS))
    count = int(rng.integers(1, most + 1))
    edges = np.linspace(0, width, count + 1)
    edges[1:-1] += rng.uniform(-0.3, 0.3, count - 1) * width / count
    image = np.empty((height, width, 3), np.float32)
    for left, right in zip(edges[:-1].astype(int), edges[1:].astype(int), strict=True):
        paint = _WALLS[rng.choice(len(_WALLS), p=_WALL_ODDS)]
        image[:, left:right] = paint(rng, (height, right - left), scale)
        if left:
            _edge(rng, image, left, scale)
    return image


def _edge(rng: np.random.Generator, image: np.ndarray, x: int, scale: float) -> None:
    """Paint a frame or gap where two walls meet."""
    thickness = max(1, int(rng.uniform(0.05, 0.4) * scale))
    colour = near(rng, _pick(rng, _DOOR + _PLASTER), 15)
    image[:, x : x + thickness] = colour
    image[:, x + thickness : x + thickness + max(1, thickness // 3)] *= 0.6


def _pick(rng: np.random.Generator, colours: Sequence[tuple[int, int, int]]) -> np.ndarray:
    return np.asarray(colours[rng.integers(len(colours))], np.float32)


def _stucco(rng: np.random.Generator, size: Size, scale: float) -> np.ndarray:
    grain = smooth_noise(rng, size, (scale / 12, scale / 12)) * rng.uniform(1, 9)
    stains = smooth_noise(rng, size, (scale * 2, scale)) * rng.uniform(2, 12)
    return near(rng, _pick(rng, _PLASTER), 18) + (grain + stains)[..., None]


def _tiles(
    rng: np.random.Generator,
    size: Size,
    tile: tuple[float, float],
    bond: float,
    colour: np.ndarray,
    spread: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Paint rows of tiles, each in its own shade, and measure the distance to the nearest joint.

    Args:
        rng: Source of the shades.
        size: Height and width of the picture.
        tile: Height and width of a tile.
        bond: Shift of every second row, in tiles.
        colour: Colour of the tiles, (3, ).
        spread: Deviation of the tiles' shades.

    Returns:
        The (H, W, 3) picture and the (H, W) distance to the nearest joint, in pixels.
    """
    tilt = rng.normal(0, 0.03)
    y, x = np.indices(size, np.float32)
    v = (y + tilt * x) / tile[0] + rng.uniform(2, 3)
    v -= v.min()
    row = v.astype(np.int32)
    u = (x - tilt * y) / tile[1] + bond * (row & 1) + rng.uniform()
    u -= u.min()
    column = u.astype(np.int32)
    shades = rng.normal(0, spread, (row.max() + 1, column.max() + 1)).astype(np.float32)
    joint = np.minimum(
        (0.5 - np.abs(v - row - 0.5)) * tile[0], (0.5 - np.abs(u - column - 0.5)) * tile[1]
    )
    return colour + shades[row, column][..., None], joint


def _bricks(rng: np.random.Generator, size: Size, scale: float) -> np.ndarray:
    high = scale * rng.uniform(0.3, 0.9)
    tile = (high, high * rng.uniform(2, 3.5))
    wall, joint = _tiles(
        rng, size, tile, 0.5, near(rng, _pick(rng, _BRICK), 15), rng.uniform(3, 14)
    )
    wall += smooth_noise(rng, size, (high / 6, high / 6))[..., None] * rng.uniform(2, 8)
    mortar = np.clip(high * rng.uniform(0.05, 0.1) - joint + 0.5, 0, 1)
    blend(wall, mortar * rng.uniform(0.4, 1), near(rng, (170, 160, 150), 25))
    return wall


def _planks(rng: np.random.Generator, size: Size, scale: float) -> np.ndarray:
    upright = rng.random() < 0.4
    size = size[::-1] if upright else size
    board = scale * rng.uniform(0.6, 2)
    colour = near(rng, _pick(rng, _WOOD), 15)
    wall, joint = _tiles(rng, size, (board, scale * 40), 0.0, colour, rng.uniform(1, 8))
    wall += smooth_noise(rng, size, (scale / 15, scale * 2))[..., None] * rng.uniform(1, 9)
    gap = np.clip(board * rng.uniform(0.02, 0.08) - joint + 0.5, 0, 1)
    blend(wall, gap * rng.uniform(0.5, 0.9), colour * 0.35)
    return wall.transpose(1, 0, 2) if upright else wall


def _door(rng: np.random.Generator, size: Size, scale: float) -> np.ndarray:
    colour = near(rng, _pick(rng, _DOOR), 12)
    wall = np.empty((*size, 3), np.float32)
    wall[:] = colour
    wall += smooth_noise(rng, size, (scale * 2, scale * 2))[..., None] * rng.uniform(0, 6)
    high, wide = scale * rng.uniform(1.5, 4), scale * rng.uniform(1.5, 4)
    inset, bevel = scale * rng.uniform(0.2, 0.4), max(1, round(scale * rng.uniform(0.04, 0.1)))
    glazed = rng.random() < 0.4
    first_y, first_x = -rng.uniform(0, high), -rng.uniform(0, wide)
    for top in np.arange(first_y, size[0], high + inset):
        for left in np.arange(first_x, size[1], wide + inset):
            corners = [(int(left), int(top)), (int(left + wide), int(top + high))]
            pane = _pick(rng, _GLASS) if glazed else colour * rng.uniform(0.85, 1.1)
            cv2.rectangle(wall, *corners, pane.tolist(), -1)
            cv2.rectangle(wall, *corners, np.minimum(colour * 0.6, 255).tolist(), bevel)
            edge = [corners[1], (corners[0][0], corners[1][1])]
            cv2.line(wall, *edge, np.minimum(colour * 1.3 + 15, 255).tolist(), bevel)
    return wall


def _leaves(rng: np.random.Generator, size: Size, scale: float) -> np.ndarray:
    """Paint a hedge: darker behind, lighter in front."""
    wall = np.empty((*size, 3), np.float32)
    wall[:] = near(rng, (35, 45, 25), 8)
    colour = _pick(rng, _LEAF)
    length = scale * rng.uniform(0.12, 0.4)
    count = int(np.clip(size[0] * size[1] / length**2 * 2.5, 20, 1500))
    draws = rng.random((count, 5))
    shades = np.linspace(0.5, 1.3, count) * rng.normal(1, 0.15, count)
    centres = np.round(draws[:, :2] * size[::-1]).astype(int).tolist()
    radii = np.maximum(1, np.round(length * (0.4 + 0.6 * draws[:, 2:4]) * (0.9, 0.45))).astype(int)
    for centre, radius, turn, shade in zip(
        centres, radii.tolist(), draws[:, 4] * 180, shades, strict=True
    ):
        cv2.ellipse(
            wall, centre, radius, turn, 0, 360, np.clip(colour * shade, 0, 255).tolist(), -1
        )
    return wall


Wall = Callable[[np.random.Generator, Size, float], np.ndarray]
_WALLS: tuple[Wall, ...] = (_stucco, _bricks, _planks, _door, _leaves)
_WALL_ODDS = (0.3, 0.25, 0.2, 0.15, 0.1)
