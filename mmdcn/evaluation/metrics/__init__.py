"""Metrics for a runner."""

from .patch_hit import PatchHit
from .sequence_accuracy import SequenceAccuracy

__all__ = ['PatchHit', 'SequenceAccuracy']
