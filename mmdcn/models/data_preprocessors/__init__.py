"""Data preprocessors: steps on a batch before the model sees it."""

from .late_normalization import LateNormalization
from .unpadded import UnpaddedDataPreprocessor

__all__ = ['LateNormalization', 'UnpaddedDataPreprocessor']
