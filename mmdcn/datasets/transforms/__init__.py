"""Transforms for data pipelines."""

from .loading import LoadGrayscale
from .resizing import UpscaleToCover

__all__ = ['LoadGrayscale', 'UpscaleToCover']
