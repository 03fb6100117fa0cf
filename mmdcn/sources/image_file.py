"""Images in files that can only be decoded as a whole, such as JPEG and PNG."""

import logging
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from mmengine.logging import print_log
from PIL import Image

from .pyramid import Level
from .source import FileSource, Reader, Refused
from .tiff import CONVERSION
from .turned import Turn

_REDUCTIONS = (2, 4, 8)  # to which a JPEG can be decoded at once
_END_OF_JPEG = b'\xff\xd9'
_ORIENTATION = 0x0112  # of EXIF
_WHOLE_BANDS = 256  # rows of a decoded image that are shrunk at a time
_COLOURS = ('RGB', 'P', 'YCbCr')
# What the values of EXIF's orientation say, other than upright
_TURNS = {
    2: Turn.flip('horizontal'),
    3: Turn.flip('diagonal'),
    4: Turn.flip('vertical'),
    5: Turn(transpose=True),
    6: Turn.quarters(-1),
    7: Turn(True, True, True),
    8: Turn.quarters(1),
}
_said = False


class ImageFileSource(FileSource):
    """Reads JPEG, PNG and what else PIL opens.

    The overview of a JPEG is decoded at a smaller scale. Windows need the whole image decoded, once
    for all windows that are read at once. Colours become BGR. Grey stays one channel of 8 or 16
    bits. The EXIF orientation is applied.
    """

    decodes_whole = True

    def open(self) -> Reader:
        """Open the file and check that it can be read."""
        return _ImageFileReader(self.path)

    def windows(
        self, corners: Sequence[tuple[int, int]], height: int, width: int
    ) -> list[np.ndarray]:
        """Return the pixels of several windows, from the whole image, decoded once."""
        _say_what_windows_cost(self.path)
        return super().windows(corners, height, width)

    def _reader(self) -> Reader:
        reader: Any = super()._reader()
        return _DecodedOnce(reader)


class _ImageFileReader:
    def __init__(self, path: str) -> None:
        self._path = path
        try:
            with Image.open(path) as image:
                self._check(image)
                width, height = image.size
                self._turn = _turn_of(image)
                self._jpeg = image.format in ('JPEG', 'MPO')
                grey = image.mode not in _COLOURS
                deep = image.mode.startswith('I')
        except Image.DecompressionBombError as error:
            raise Refused(self._too_large()) from error
        except Refused:
            raise
        # PIL's decoders raise many types of error on broken bytes.
        except Exception as error:
            raise ValueError(
                f'The image {path} is cut, or nobody here reads its format ({error}): copy it '
                'again, or convert it to TIFF or PNG.'
            ) from error
        height, width = self._turn.size((height, width))
        self.levels = [Level((height, width), (1.0, 1.0), _WHOLE_BANDS)]
        self._reductions = [1]
        for reduction in _REDUCTIONS if self._jpeg else ():
            # A decoder rounds up at the right and bottom, which a turn would move to the top left.
            if self._turn == Turn() or height % reduction == width % reduction == 0:
                size = (-(-height // reduction), -(-width // reduction))
                self.levels.append(Level(size, (float(reduction),) * 2, size[0]))
                self._reductions.append(reduction)
        self.channels = 1 if grey else 3
        self.dtype = np.dtype(np.uint16 if deep else np.uint8)

    def read(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        return self.decode(level)[top : top + height, left : left + width]

    def decode(self, level: int) -> np.ndarray:
        """Return all pixels of a level, (h, w, C)."""
        reduction = self._reductions[level]
        try:
            with open(self._path, 'rb') as file, Image.open(file) as image:
                self._check(image)
                if reduction > 1:
                    image.draft(image.mode, (image.width // reduction, image.height // reduction))
                elif self._jpeg and (pixels := _decoded_sooner(file, image)) is not None:
                    return self._turn.array(pixels)
                return self._turn.array(_pixels(image))
        except Refused:
            raise
        # PIL's decoders raise many types of error on broken bytes.
        except Exception as error:
            raise ValueError(
                f'The image {self._path} is cut or cannot be decoded ({error}): copy it again.'
            ) from error

    def _check(self, image: Image.Image) -> None:
        most = Image.MAX_IMAGE_PIXELS
        if most is not None and image.width * image.height > most:
            raise Refused(self._too_large())
        mode = image.mode
        if image.has_transparency_data:
            wrong = 'transparency'
            remedy = f'remove it, as by `vips flatten {self._path} out.png --background 255`'
        elif mode == 'CMYK':
            wrong = 'the colours of print (CMYK)'
            remedy = f'convert them, as by `vips icc_transform {self._path} out.tif srgb`'
        elif mode == 'RGB' and self._deep_colours(image):  # Pillow would drop their lower 8 bits
            wrong = 'colours of 16 bits'
            remedy = f'convert it to TIFF, as by {CONVERSION.format(self._path)}'
        elif mode not in (*_COLOURS, '1', 'L') and not self._holds_16_bits(image):
            wrong = f'pixels of the kind {mode}'
            remedy = f'convert them, as by `vips cast {self._path} out.tif uchar`'
        else:
            return
        raise Refused(f'The image {self._path} has {wrong}: {remedy}.')

    @staticmethod
    def _deep_colours(image: Image.Image) -> bool:
        return image.format == 'PNG' and 'RGB;16B' in str(getattr(image, 'tile', ''))

    @staticmethod
    def _holds_16_bits(image: Image.Image) -> bool:
        # Older versions of PIL store the 16 bits of a PNG in 32.
        return image.mode.startswith('I;16') or (image.mode == 'I' and image.format == 'PNG')

    def _too_large(self) -> str:
        return (
            f'The image {self._path} has more than the {Image.MAX_IMAGE_PIXELS} pixels that PIL '
            f'takes for safe: convert it, as by {CONVERSION.format(self._path)}, or, in Python, '
            'set PIL.Image.MAX_IMAGE_PIXELS = None first.'
        )


class _DecodedOnce:
    """A reader for one call, in which each level is decoded once."""

    def __init__(self, reader: _ImageFileReader) -> None:
        self.levels, self.channels, self.dtype = reader.levels, reader.channels, reader.dtype
        self._reader = reader
        self._level: int | None = None
        self._pixels: Any = None

    def read(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        if level != self._level:
            self._level, self._pixels = level, self._reader.decode(level)
        return self._pixels[top : top + height, left : left + width]


def _turn_of(image: Image.Image) -> Turn:
    """Return how EXIF says that an image is turned, without decoding its pixels."""
    exif = Image.Exif()
    try:
        exif.load(image.info.get('exif', b''))
    except Exception:  # A broken EXIF turns nothing.
        return Turn()
    return _TURNS.get(exif.get(_ORIENTATION, 1), Turn())


def _decoded_sooner(file: BinaryIO, image: Image.Image) -> np.ndarray | None:
    """Decode a JPEG to PIL's pixels in less time, or return None if PIL has to do it."""
    try:
        import imagecodecs
    except ModuleNotFoundError:
        return None
    file.seek(0)
    data = file.read()
    # It fills up what a cut file lacks; PIL refuses that.
    if not data.endswith(_END_OF_JPEG):
        return None
    pixels = imagecodecs.jpeg8_decode(data)
    if pixels.shape != (image.height, image.width, *((3,) if image.mode in _COLOURS else ())):
        return None
    return pixels[..., ::-1] if pixels.ndim == 3 else pixels[..., None]


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode in _COLOURS:
        colours = image if image.mode == 'RGB' else image.convert('RGB')  # which copies
        return np.asarray(colours)[..., ::-1]
    if image.mode.startswith('I'):
        return np.asarray(image).astype(np.uint16)[..., None]
    return np.asarray(image.convert('L'))[..., None]


def _say_what_windows_cost(path: str) -> None:
    global _said
    if not _said:
        _said = True
        print_log(
            f'The windows of {path} need the whole image decoded, in time and in memory, and so do '
            'those of all images that are not TIFF or slides: convert them, as by '
            f'{CONVERSION.format("FILE")}.',
            logger='current',
            level=logging.WARNING,
        )
