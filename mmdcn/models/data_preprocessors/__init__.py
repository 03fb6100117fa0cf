"""Data preprocessors: steps on a batch before the model sees it."""

from .late_normalization import LateNormalization

__all__ = ['LateNormalization']
