"""Losses beside the head's loss, and figures for the log."""

from .coarse import CoarseLoss
from .hint import HintLoss
from .patch_hit_rate import PatchHitRate

__all__ = ['CoarseLoss', 'HintLoss', 'PatchHitRate']
