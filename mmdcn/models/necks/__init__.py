from .fine_only_refine import FineOnlyRefine
from .swap_refine import SwapRefine

__all__ = ['FineOnlyRefine', 'SwapRefine']
