"""Images in files, larger than memory: a shrunk overview and windows, read when they are needed.

What reads TIFF and slides needs the packages of requirements/large.txt and imports them on demand.
"""

from .array import ArraySource
from .image_file import ImageFileSource
from .opening import SUFFIXES, open_source
from .slide import SlideSource
from .source import FileSource, Source
from .tiff import TiffSource
from .turned import Turn, Turned

__all__ = [
    'SUFFIXES',
    'ArraySource',
    'FileSource',
    'ImageFileSource',
    'SlideSource',
    'Source',
    'TiffSource',
    'Turn',
    'Turned',
    'open_source',
]
