"""Test-time augmentation."""

from .sequence_tta import AverageSequenceTTA

__all__ = ['AverageSequenceTTA']
