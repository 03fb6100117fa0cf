"""Images in TIFF files: tiled or in strips, with or without a pyramid."""

import math
import os
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from .packages import import_for
from .pyramid import Level, find_ratio
from .source import FileSource, Reader, Refused

CONVERSION = '`vips tiffsave {} out.tif --tile --pyramid --compression jpeg`'
_ROWS = 64  # of an image that is not compressed, read at a time
_FEW = 4  # columns of a segment for each one of a window, from which rows are read one by one
# Tags of TIFF 6.0
_BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 1, 2, 3, 5, 6
_ALPHA = (1, 2)  # of ExtraSamples
_JPEG = (6, 7, 34892, 33007)  # compressions that need the tables of the page
_APERIO_YCBCR = 33003
_ORIENTATION = 274


class NeedsOpenSlide(Refused):
    """A TIFF whose layout only OpenSlide knows."""


class TiffSource(FileSource):
    """Reads TIFF, BigTIFF, GeoTIFF, OME-TIFF and SVS of 8 or 16 bits.

    A window decodes only the tiles or strips that it touches. Smaller copies in SubIFDs or in pages
    of their own are the levels of a pyramid. RGB and YCbCr become BGR. Other channels stay in the
    file's order.
    """

    def open(self) -> Reader:
        """Open the file and check that it can be read."""
        return _TiffReader(self.path)


class _Image(NamedTuple):
    """One page, and where its segments (tiles or strips) are.

    Attributes:
        page: Of tifffile.
        segment: Height and width of a segment.
        shape: Height, width and channels.
        planes: How many segments hold the channels of one place.
        tables: What decoding a segment needs besides its bytes.
        stored: Type of the pixels in a segment that needs no decoding; None if they need it.
        flipped: The channels are in the order red, green, blue.
    """

    page: Any
    segment: tuple[int, int]
    shape: tuple[int, int, int]
    planes: int
    tables: dict[str, bytes | None]
    stored: np.dtype | None
    flipped: bool


class _TiffReader:
    def __init__(self, path: str) -> None:
        tifffile = import_for(path, 'tifffile', 'imagecodecs')
        self._path = path
        self._file = open(path, 'rb', buffering=0)  # noqa: SIM115
        try:
            # Not closed: the file is open for the pixels. Decoders keep the header.
            pages = list(_pages_of(tifffile.TiffFile(self._file), path))
            pages.sort(key=lambda page: page.imagelength, reverse=True)
            self._images = [_image_of(page, path) for page in pages]
            self._check_ends()
        except Refused:
            raise
        # tifffile raises many types of error on broken bytes.
        except Exception as error:
            raise ValueError(
                f'The TIFF {path} is cut or cannot be read ({error}): copy it again.'
            ) from error
        self.channels = self._images[0].shape[2]
        self.dtype = np.dtype(pages[0].dtype)
        self.levels = [_level_of(image, self._images[0]) for image in self._images]

    def read(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        image = self._images[level]
        out = np.empty((height, width, image.shape[2]), self.dtype)
        tall, wide = image.segment
        down, across = (
            math.ceil(n / m) for n, m in zip(image.shape[:2], image.segment, strict=True)
        )
        for plane in range(image.planes):
            part = out if image.planes == 1 else out[..., plane : plane + 1]
            for row in range(top // tall, (top + height - 1) // tall + 1):
                first, last = max(top, row * tall), min(top + height, (row + 1) * tall)
                for column in range(left // wide, (left + width - 1) // wide + 1):
                    begin = max(left, column * wide)
                    end = min(left + width, (column + 1) * wide)
                    part[first - top : last - top, begin - left : end - left] = self._segment(
                        image,
                        (plane * down + row) * across + column,
                        slice(first - row * tall, last - row * tall),
                        slice(begin - column * wide, end - column * wide),
                    )
        return out[..., ::-1] if image.flipped else out

    def _segment(
        self, image: _Image, index: int, rows: slice, columns: slice
    ) -> np.ndarray | np.generic:
        """Return pixels of a segment, (rows, columns, samples), or the value of all of them."""
        page = image.page
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        if offset == 0 or count == 0:  # a tile without data, as GDAL writes
            return self.dtype.type(page.nodata)
        try:
            if image.stored is not None:
                return self._stored(image, offset, count, rows, columns)
            data, *_ = page.decode(self._bytes(offset, count), index, **image.tables)
            pixels = data[0, rows, columns]
            wanted = (rows.stop - rows.start, columns.stop - columns.start)
            if pixels.shape[:2] != wanted:
                raise ValueError('it has too few pixels')
            return pixels
        # Decoders raise many types of error on broken bytes.
        except Exception as error:
            raise ValueError(
                f'Tile or strip {index} of the TIFF {self._path} cannot be decoded '
                f'({str(error) or type(error).__name__}): copy the file again, or convert it anew.'
            ) from error

    def _stored(
        self, image: _Image, offset: int, count: int, rows: slice, columns: slice
    ) -> np.ndarray:
        """Return pixels of a segment that is not compressed, without reading the others."""
        samples = image.shape[2] if image.planes == 1 else 1
        pixel = samples * self.dtype.itemsize
        line, wide = image.segment[1] * pixel, columns.stop - columns.start
        if rows.stop * line > count:
            raise ValueError(f'it has {count} bytes instead of {rows.stop * line}')
        if wide * _FEW > image.segment[1]:
            data = self._bytes(offset + rows.start * line, (rows.stop - rows.start) * line)
            lines = np.frombuffer(data, image.stored).reshape(-1, image.segment[1], samples)
            return lines[:, columns]
        start = offset + columns.start * pixel
        data = b''.join(
            self._bytes(start + row * line, wide * pixel) for row in range(rows.start, rows.stop)
        )
        return np.frombuffer(data, image.stored).reshape(-1, wide, samples)

    def _bytes(self, offset: int, count: int) -> bytes:
        # Several threads read at once, so no one moves a position in the file.
        data = os.pread(self._file.fileno(), count, offset)
        if len(data) < count:
            raise ValueError('the file ends before it')
        return data

    def _check_ends(self) -> None:
        size = os.fstat(self._file.fileno()).st_size
        for image in self._images:
            ends = map(sum, zip(image.page.dataoffsets, image.page.databytecounts, strict=True))
            if (end := max(ends, default=size + 1)) > size:
                raise Refused(
                    f'The TIFF {self._path} is cut: it has {size} bytes, and its pixels reach to '
                    f'byte {end}; copy it again.'
                )

    def __del__(self) -> None:
        if hasattr(self, '_file'):
            self._file.close()


def _pages_of(tiff: Any, path: str) -> Iterator[Any]:
    """Yield the page of the full image and those of its pyramid."""
    first = tiff.pages[0]
    foreign = first.is_ndpi or first.is_scn or first.is_bif or first.is_philips
    if foreign or first.compression == _APERIO_YCBCR:
        raise NeedsOpenSlide(
            f'The slide {path} is laid out as only OpenSlide knows: use open_source or SlideSource.'
        )
    _check_pixels(first, path)
    yield first
    for page in first.pages or ():
        if not page.is_mask:
            yield _checked_level(page, first, path)
    for page in islice(tiff.pages, 1, None):
        if page.is_mask:
            continue
        if page.is_reduced and not first.is_svs:
            yield _checked_level(page, first, path)
        elif _size(page) == _size(first):
            raise Refused(
                f'The TIFF {path} holds several images of one size, such as the planes of a stack: '
                f"save the one that is meant by itself, as by `vips copy '{path}[page=0]' out.tif`."
            )
        # Aperio's thumbnails, labels and pictures of the whole glass are in strips.
        elif page.is_tiled and _belongs(page, first):
            yield page


def _checked_level(page: Any, first: Any, path: str) -> Any:
    if not _belongs(page, first):
        raise Refused(
            f'The pyramid of the TIFF {path} disagrees: its level of {_said(page)} does not fit '
            f'the image of {_said(first)}; write it anew, as by {CONVERSION.format(path)}.'
        )
    return page


def _belongs(page: Any, first: Any) -> bool:
    same = page.dtype == first.dtype and page.samplesperpixel == first.samplesperpixel
    colours = (page.photometric in (_RGB, _YCBCR)) == (first.photometric in (_RGB, _YCBCR))
    smaller = _size(page) != _size(first) and find_ratio(_size(page), _size(first)) is not None
    return same and colours and smaller


def _check_pixels(page: Any, path: str) -> None:
    """Raise an error that says how to convert a page that is neither grey, bands nor colours."""
    kind, extra = page.photometric, tuple(page.extrasamples)
    if page.dtype not in (np.uint8, np.uint16) or page.bitspersample not in (8, 16):
        wrong = f'pixels of the type {page.dtype}, {page.bitspersample} bits'
        remedy = f'scale them to 8 or 16 bits, as by `vips cast {path} out.tif uchar`'
    elif kind == _PALETTE:
        wrong, remedy = 'a palette', f'convert it, as by {CONVERSION.format(path)}'
    elif kind == _CMYK:
        wrong = 'the colours of print (CMYK)'
        remedy = f'convert them, as by `vips icc_transform {path} out.tif srgb`'
    elif any(sample in _ALPHA for sample in extra) or (kind in (_RGB, _YCBCR) and extra):
        wrong = 'transparency or other samples beside its colours'
        remedy = f'remove them, as by `vips flatten {path} out.tif --background 255`'
    elif kind == _YCBCR and (page.compression not in _JPEG or page.planarconfig != 1):
        wrong = 'colours (YCbCr) that are not compressed as JPEG'
        remedy = f'convert them, as by {CONVERSION.format(path)}'
    elif kind not in (_BLACK_IS_ZERO, _RGB, _YCBCR):
        wrong = f'pixels of the kind {getattr(kind, "name", kind)}'
        remedy = f'convert them, as by `vips colourspace {path} out.tif srgb`'
    elif page.imagedepth > 1:
        wrong, remedy = 'a volume', 'save each of its planes as a file'
    elif page.tags.valueof(_ORIENTATION, default=1) not in (0, 1):
        wrong, remedy = 'rows in another order', f'turn it, as by `vips autorot {path} out.tif`'
    else:
        return
    raise Refused(f'The TIFF {path} has {wrong}: {remedy}.')


def _image_of(page: Any, path: str) -> _Image:
    """Prepare to decode a page.

    Raises:
        Refused: Segments are missing or too large to be decoded at once.
    """
    height, width = _size(page)
    segment = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    plain = page.compression == 1 and page.predictor == 1 and page.fillorder == 1
    most = Image.MAX_IMAGE_PIXELS
    if not plain and most is not None and segment[0] * segment[1] > most:
        raise Refused(
            f'The TIFF {path} is compressed in pieces of {segment[0]}×{segment[1]} pixels, more '
            f'than the {most} that PIL takes for safe: convert it to tiles, as by '
            f'{CONVERSION.format(path)}.'
        )
    expected = planes * math.prod(
        math.ceil(n / m) for n, m in zip((height, width), segment, strict=True)
    )
    if len(page.dataoffsets) != expected or len(page.databytecounts) != expected:
        raise Refused(
            f'The TIFF {path} is cut or broken: it lists {len(page.dataoffsets)} of {expected} '
            'tiles or strips; copy it again.'
        )
    tables: dict[str, bytes | None] = {}
    if page.compression in _JPEG:
        tables = dict(jpegtables=page.jpegtables, jpegheader=page.jpegheader)
    page.decode  # noqa: B018 - made once, before threads ask for it
    return _Image(
        page,
        segment,
        (height, width, page.samplesperpixel),
        planes,
        tables,
        np.dtype(page.dtype).newbyteorder(page.parent.byteorder) if plain else None,
        page.photometric in (_RGB, _YCBCR),
    )


def _level_of(image: _Image, full: _Image) -> Level:
    size = image.shape[:2]
    ratio = find_ratio(size, full.shape[:2]) if image is not full else (1.0, 1.0)
    assert ratio is not None  # levels that do not fit were refused or left out
    tall = image.segment[0]
    tiled = image.segment[1] < size[1]
    rows = tall * math.ceil(_ROWS / tall)
    return Level(size, ratio, _ROWS if image.stored is not None and not tiled else rows)


def _size(page: Any) -> tuple[int, int]:
    return page.imagelength, page.imagewidth


def _said(page: Any) -> str:
    return f'{page.imagelength}×{page.imagewidth}×{page.samplesperpixel} {page.dtype}'
