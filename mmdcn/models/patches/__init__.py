"""Patches: which pixels belong to which cell."""

from .geometry import Geometry, receptive_field
from .grid import PatchGrid

__all__ = ['Geometry', 'PatchGrid', 'receptive_field']
