"""Necks: join the coarse map and the fine vectors."""

from .fine_only_refine import FineOnlyRefine
from .swap_refine import SwapRefine

__all__ = ['FineOnlyRefine', 'SwapRefine']
