"""Transforms for data pipelines."""

from .loading import LoadGrayscale
from .overview import LoadOverview, RandomFlip, RandomTurn
from .resizing import UpscaleToCover

__all__ = ['LoadGrayscale', 'LoadOverview', 'RandomFlip', 'RandomTurn', 'UpscaleToCover']
