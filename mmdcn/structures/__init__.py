"""Data structures that the parts of a model exchange."""

from .boxes import overlap_areas, patch_hit
from .cells import Cells
from .feature_map import last_map
from .glance import ChangedMap, Glance, Measured
from .ragged import Ragged, join, parts_of, stack
from .source_view import SourceView, full_size, source_of, sources_of
from .view import PixelView, View, resize_to, shrink, shrunk_size
from .windows import Windows

__all__ = [
    'Cells',
    'ChangedMap',
    'Glance',
    'Measured',
    'PixelView',
    'Ragged',
    'SourceView',
    'View',
    'Windows',
    'full_size',
    'join',
    'last_map',
    'overlap_areas',
    'parts_of',
    'patch_hit',
    'resize_to',
    'shrink',
    'shrunk_size',
    'source_of',
    'sources_of',
    'stack',
]
