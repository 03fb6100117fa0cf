"""The interface of images that are read from files in part, and what all readers share."""

import os
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from mmdcn.structures import shrunk_size

from .cache import Stamp, cache_file, load_overview, save_overview
from .pyramid import Level, choose_level, shrink_bands

MOST_OPEN = 64  # files that one process keeps open, of 1024 that systems commonly allow


class Refused(ValueError):
    """A file that no source reads; the message says why and what to do."""


class Source(Protocol):
    """An image in a file, of which only parts are read.

    Colours are in the order blue, green, red, as MMCV loads them. Other channels are in the file's
    order.

    Attributes:
        path: The file.
        size: Height and width of the full image in pixels.
        channels: Channels of a pixel, C.
        dtype: Type of the pixels of windows, uint8 or uint16.
        decodes_whole: Whether reading windows decodes the whole image, so that all windows of an
            image should be read at once.
    """

    path: str
    size: tuple[int, int]
    channels: int
    dtype: np.dtype
    decodes_whole: bool

    def overview(self, scale: float) -> np.ndarray:
        """Return the whole image, shrunk: (⌊H·scale⌋, ⌊W·scale⌋, C) float32, C-contiguous."""

    def window(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Return the pixels of a window, (height, width, C), with zeros outside of the image."""

    def windows(
        self, corners: Sequence[tuple[int, int]], height: int, width: int
    ) -> list[np.ndarray]:
        """Return the pixels of several windows of one size, by their (top, left)."""


class Reader(Protocol):
    """An open file. It closes when nothing refers to it any more.

    Attributes:
        levels: The full image and smaller copies of it.
        channels: Channels of a pixel, C.
        dtype: Type of the pixels.
    """

    levels: list[Level]
    channels: int
    dtype: np.dtype

    def read(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Return pixels of a level, (height, width, C); several threads may call this at once."""


class FileSource(ABC):
    """Base class of sources: opens the file when it must and notices if the file changes.

    A source pickles as its path and what its header said. Each process opens the file itself, at
    its first read, and several threads may read at once.

    Args:
        path: The file.
        cache: Keeps overviews in files: True beside the image, a path in that folder.

    Attributes:
        path: The file.
        size: Height and width of the full image in pixels.
        channels: Channels of a pixel, C.
        dtype: Type of the pixels of windows, uint8 or uint16.
        decodes_whole: Whether reading windows decodes the whole image.

    Raises:
        FileNotFoundError: There is no such file.
        ModuleNotFoundError: A package of requirements/large.txt is missing.
        ValueError: The file is cut, or its format or type of pixels is not supported.
    """

    decodes_whole = False

    def __init__(
        self, path: str | os.PathLike[str], cache: str | os.PathLike[str] | bool = False
    ) -> None:
        self.path = os.fspath(path)
        self.cache = cache if isinstance(cache, bool) else os.fspath(cache)
        self._opened: tuple[int, Reader] | None = None
        self._stamp = _stamp_of(self.path)
        reader = self._reader()
        self.size = reader.levels[0].size
        self.channels = reader.channels
        self.dtype = reader.dtype

    @abstractmethod
    def open(self) -> Reader:
        """Open the file and check that it can be read."""

    def overview(self, scale: float) -> np.ndarray:
        """Return the whole image, shrunk.

        The smallest level of a pyramid that suffices is shrunk. Without a pyramid, the pixels are
        those of ``mmdcn.structures.shrink``, bit by bit.

        Args:
            scale: Share of height and width that remains, within (0, 1].

        Returns:
            np.ndarray: (⌊H·scale⌋, ⌊W·scale⌋, C) float32, C-contiguous.

        Raises:
            FileNotFoundError: The file is gone.
            ValueError: The scale is not within (0, 1] or leaves nothing, the file has changed since
                it was opened, or a part of it cannot be decoded.
        """
        if not 0 < scale <= 1:
            raise ValueError(f'The scale of an overview must be within (0, 1], got {scale}.')
        target = shrunk_size(self.size, scale)
        reader = self._reader()
        if not self.cache:
            return _shrunk(reader, target, scale)
        file = cache_file(self.path, scale, self.cache)
        overview = load_overview(file, self._stamp, (*target, self.channels))
        if overview is None:
            overview = _shrunk(reader, target, scale)
            save_overview(file, self._stamp, overview)
        return overview

    def window(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Return the pixels of a window.

        Args:
            top: Its first row; it may lie outside of the image.
            left: Its first column; it may lie outside of the image.
            height: Its rows.
            width: Its columns.

        Returns:
            np.ndarray: (height, width, C) of the type ``dtype``, with zeros outside of the image.

        Raises:
            FileNotFoundError: The file is gone.
            ValueError: The file has changed since it was opened, or a part of it cannot be decoded.
        """
        return self.windows([(top, left)], height, width)[0]

    def windows(
        self, corners: Sequence[tuple[int, int]], height: int, width: int
    ) -> list[np.ndarray]:
        """Return the pixels of several windows of one size.

        Args:
            corners: The first row and column of each window, as for :meth:`window`.
            height: Their rows.
            width: Their columns.

        Raises:
            FileNotFoundError: The file is gone.
            ValueError: The file has changed since it was opened, or a part of it cannot be decoded.
        """
        reader = self._reader()
        return [self._cut(reader, top, left, height, width) for top, left in corners]

    def _cut(self, reader: Reader, top: int, left: int, height: int, width: int) -> np.ndarray:
        out = np.zeros((height, width, self.channels), self.dtype)
        first, last = max(top, 0), min(top + height, self.size[0])
        begin, end = max(left, 0), min(left + width, self.size[1])
        if first < last and begin < end:
            inside = reader.read(0, first, begin, last - first, end - begin)
            out[first - top : last - top, begin - left : end - left] = inside
        return out

    def _reader(self) -> Reader:
        """Return the file as opened by this process, after a check that it is still the same."""
        if _stamp_of(self.path) != self._stamp:
            raise ValueError(
                f'The image {self.path} has changed since it was opened: open it again.'
            )
        # No lock: a lock that another thread held would stay locked in a forked process. At worst,
        # two threads open the file, and one of them is closed.
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            self._opened = opened = (os.getpid(), self.open())
            _close_oldest(self)
        return opened[1]

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_opened': None}

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.path!r})'


_recently_opened: deque[weakref.ref[FileSource]] = deque()


def _close_oldest(opened: FileSource) -> None:
    """Close the file that was opened first if this process has too many open."""
    _recently_opened.append(weakref.ref(opened))
    if len(_recently_opened) > MOST_OPEN:
        oldest = _recently_opened.popleft()()
        if oldest is not None and oldest is not opened:
            oldest._opened = None  # threads that read keep it open until they are done


def _shrunk(reader: Reader, target: tuple[int, int], scale: float) -> np.ndarray:
    place = choose_level(reader.levels, scale)
    level = reader.levels[place]

    def read(top: int, number: int) -> np.ndarray:
        return reader.read(place, top, 0, number, level.size[1])

    return shrink_bands(read, level, reader.channels, target, scale)


def _stamp_of(path: str) -> Stamp:
    try:
        state = os.stat(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'The image {path} is missing; extract its archive again or correct the path.'
        ) from error
    return Stamp(state.st_size, state.st_mtime_ns)
