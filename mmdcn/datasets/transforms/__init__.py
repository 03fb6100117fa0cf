"""Transforms for data pipelines."""

from .loading import LoadGrayscale
from .overview import LoadOverview, RandomTurn
from .resizing import UpscaleToCover

__all__ = ['LoadGrayscale', 'LoadOverview', 'RandomTurn', 'UpscaleToCover']
