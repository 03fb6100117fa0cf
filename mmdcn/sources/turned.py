"""Images that are flipped or turned, without a copy of their pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .source import Source

_FLIPS = {'horizontal': (False, True), 'vertical': (True, False), 'diagonal': (True, True)}


class Turn(NamedTuple):
    """One of the eight symmetries of a square. The flips are done after the transposition.

    Attributes:
        transpose: Rows become columns.
        flip_rows: The last row becomes the first.
        flip_columns: The last column becomes the first.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def flip(cls, direction: str) -> 'Turn':
        """Return the flip of a direction: 'horizontal', 'vertical' or 'diagonal', as in MMCV.

        Raises:
            ValueError: There is no such direction.
        """
        if direction not in _FLIPS:
            raise ValueError(f'A flip is one of {", ".join(_FLIPS)}, got {direction!r}.')
        return cls(False, *_FLIPS[direction])

    @classmethod
    def quarters(cls, number: int) -> 'Turn':
        """Return a number of quarter turns to the left, as ``np.rot90`` counts them."""
        number %= 4
        return cls(number % 2 == 1, number in (1, 2), number in (2, 3))

    def then(self, other: 'Turn') -> 'Turn':
        """Return what this turn and then another make together."""
        rows, columns = self.flip_rows, self.flip_columns
        if other.transpose:
            rows, columns = columns, rows
        return Turn(
            self.transpose != other.transpose,
            rows != other.flip_rows,
            columns != other.flip_columns,
        )

    def inverse(self) -> 'Turn':
        """Return the turn that undoes this one."""
        if self.transpose:
            return Turn(True, self.flip_columns, self.flip_rows)
        return self

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of an image of this height and width after the turn."""
        return (size[1], size[0]) if self.transpose else size

    def array(self, image: np.ndarray) -> np.ndarray:
        """Return a view of an image, (H, W, ...), that is turned."""
        if self.transpose:
            image = image.swapaxes(0, 1)
        return image[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def boxes(self, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return boxes of the image as boxes of the turned image.

        Args:
            boxes: (n, 4), x1, y1, x2, y2 in pixels, with x2 and y2 just outside.
            size: Height and width of the image before the turn.
        """
        boxes = np.asarray(boxes)
        if self.transpose:
            boxes = boxes[:, [1, 0, 3, 2]]
        height, width = self.size(size)
        x1, y1, x2, y2 = boxes.T
        if self.flip_columns:
            x1, x2 = width - x2, width - x1
        if self.flip_rows:
            y1, y2 = height - y2, height - y1
        return np.stack((x1, y1, x2, y2), axis=1)

    def back(self, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return boxes of the turned image as boxes of the image.

        Args:
            boxes: (n, 4), x1, y1, x2, y2 in pixels, with x2 and y2 just outside.
            size: Height and width of the image before the turn.
        """
        return self.inverse().boxes(boxes, self.size(size))


class Turned:
    """A source whose image is flipped or turned. A turn of a turned source is one turn.

    Args:
        source: The source.
        turn: How its image is turned.
    """

    source: Source
    turn: Turn
    path: str
    size: tuple[int, int]
    channels: int
    dtype: np.dtype
    decodes_whole: bool

    def __init__(self, source: 'Source | Turned', turn: Turn) -> None:
        if isinstance(source, Turned):
            turn, source = source.turn.then(turn), source.source
        self.source = source
        self.turn = turn
        self.path = source.path
        self.size = turn.size(source.size)
        self.channels = source.channels
        self.dtype = source.dtype
        self.decodes_whole = source.decodes_whole

    def overview(self, scale: float) -> np.ndarray:
        """Return the source's overview, turned: (height, width, C) float32, C-contiguous."""
        return np.ascontiguousarray(self.turn.array(self.source.overview(scale)))

    def window(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Return a window of the turned image, (height, width, C), with zeros outside of it."""
        return self.windows([(top, left)], height, width)[0]

    def windows(
        self, corners: Sequence[tuple[int, int]], height: int, width: int
    ) -> list[np.ndarray]:
        """Return the pixels of several windows of one size, by their (top, left)."""
        boxes = [(left, top, left + width, top + height) for top, left in corners]
        back = self.turn.back(np.array(boxes).reshape(-1, 4), self.source.size)
        size = (width, height) if self.turn.transpose else (height, width)
        places = [(top, left) for left, top in back[:, :2].tolist()]
        found = self.source.windows(places, *size)
        return [np.ascontiguousarray(self.turn.array(window)) for window in found]

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.source!r}, {self.turn!r})'
