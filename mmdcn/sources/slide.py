"""Slides, in the formats of the makers of scanners."""

import numpy as np

from .packages import import_for
from .pyramid import Level, find_ratio
from .source import FileSource, Reader

_BYTES = 64 * 2**20  # of the pixels that are read at a time
_FEWEST_ROWS, _MOST_ROWS = 64, 1024


class SlideSource(FileSource):
    """Reads what OpenSlide reads, such as MRXS, NDPI and DICOM, as BGR uint8.

    Transparent pixels are blended with white, as nothing was scanned there.
    """

    def open(self) -> Reader:
        """Open the file and check that it can be read."""
        return _SlideReader(self.path)


class _SlideReader:
    def __init__(self, path: str) -> None:
        openslide = import_for(path, 'openslide')
        self._path = path
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideError as error:
            raise ValueError(
                f'The slide {path} is cut or OpenSlide does not know its format ({error}): copy it '
                'again with all files that belong to it, or convert it to a TIFF of tiles.'
            ) from error
        width, height = self._slide.dimensions
        self.levels: list[Level] = []
        # Of the levels that fit: their places in the slide, and how OpenSlide counts their pixels.
        self._places: list[tuple[int, float]] = []
        counted = self._slide.level_downsamples
        for place, (w, h) in enumerate(self._slide.level_dimensions):
            ratio = (1.0, 1.0) if place == 0 else find_ratio((h, w), (height, width))
            if ratio is not None:
                rows = min(max(_BYTES // (4 * w), _FEWEST_ROWS), _MOST_ROWS)
                self.levels.append(Level((h, w), ratio, rows))
                self._places.append((place, counted[place]))
        self.channels = 3
        self.dtype = np.dtype(np.uint8)

    def read(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        place, ratio = self._places[level]
        # OpenSlide wants the corner in pixels of the full image.
        corner = (round(left * ratio), round(top * ratio))
        try:
            pixels = np.asarray(self._slide.read_region(corner, place, (width, height)))
        # OpenSlide's errors derive from Exception, and PIL has its own.
        except Exception as error:
            raise ValueError(
                f'A part of the slide {self._path} cannot be decoded ({error}): copy it again with '
                'all files that belong to it.'
            ) from error
        return on_white(pixels)[..., ::-1]

    def __del__(self) -> None:
        if hasattr(self, '_slide'):
            self._slide.close()


def on_white(pixels: np.ndarray) -> np.ndarray:
    """Blend pixels with white: (h, w, 4) red, green, blue and opacity -> (h, w, 3), all uint8."""
    opacity = pixels[..., 3:]
    if opacity.min(initial=255) == 255:
        return pixels[..., :3]
    wide = pixels[..., :3] * opacity.astype(np.uint16) + 255 * (255 - opacity.astype(np.uint16))
    return ((wide + np.uint16(127)) // 255).astype(np.uint8)
