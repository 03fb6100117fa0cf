"""Losses beside the head's loss, and figures for the log."""

from .hint import HintLoss
from .patch_hit_rate import PatchHitRate

__all__ = ['HintLoss', 'PatchHitRate']
