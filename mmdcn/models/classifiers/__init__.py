"""Models that are trained and tested."""

from .dcn import DCNClassifier

__all__ = ['DCNClassifier']
