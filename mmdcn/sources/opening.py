"""Choose the reader of a file by its content."""

import os

from .array import ArraySource
from .image_file import ImageFileSource
from .packages import import_for
from .slide import SlideSource
from .source import FileSource, Source
from .tiff import NeedsOpenSlide, TiffSource

_NUMPY = b'\x93NUMPY'
_TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_PLAIN = (b'\xff\xd8\xff', b'\x89PNG', b'GIF8', b'BM', b'RIFF')  # what no slide begins with
_DICOM, _DICOM_AT = b'DICM', 128
# Formats beside those of PIL, by the ends of their names.
SUFFIXES = ('.npy', '.bif', '.dcm', '.mrxs', '.ndpi', '.scn', '.svs', '.svslide', '.vms', '.vmu')
_MIRAX = '.mrxs'  # which begins as a JPEG, its thumbnail


def open_source(
    path: str | os.PathLike[str], cache: str | os.PathLike[str] | bool = False
) -> Source:
    """Open an image of which parts can be read.

    Args:
        path: A .npy file, a TIFF, a slide, or an image that PIL opens.
        cache: Keeps overviews in files: True beside the image, a path in that folder.

    Returns:
        Source: Of the class that reads the content of the file, whatever its name.

    Raises:
        FileNotFoundError: There is no such file.
        ModuleNotFoundError: The format needs a package of requirements/large.txt.
        ValueError: The file is cut, or its format or type of pixels is not supported.
    """
    path = os.fspath(path)
    try:
        return _reader_of(path)(path, cache)
    except NeedsOpenSlide:
        return SlideSource(path, cache)


def _reader_of(path: str) -> type[FileSource]:
    try:
        with open(path, 'rb') as file:
            begin = file.read(_DICOM_AT + len(_DICOM))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'The image {path} is missing; extract its archive again or correct the path.'
        ) from error
    except IsADirectoryError as error:
        raise ValueError(f'The image {path} is a folder: pass one file.') from error
    if begin.startswith(_NUMPY):
        return ArraySource
    if begin.startswith(_TIFF):
        return TiffSource
    if begin[_DICOM_AT:] == _DICOM or path.lower().endswith(_MIRAX):
        return SlideSource
    if begin.startswith(_PLAIN):
        return ImageFileSource
    try:
        openslide = import_for(path, 'openslide')
    except ModuleNotFoundError:
        return ImageFileSource
    return SlideSource if openslide.OpenSlide.detect_format(path) else ImageFileSource
