from .extractor import PatchExtractor
from .geometry import Geometry, receptive_field

__all__ = ['Geometry', 'PatchExtractor', 'receptive_field']
