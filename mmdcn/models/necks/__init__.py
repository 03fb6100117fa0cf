from .swap_refine import SwapRefine

__all__ = ['SwapRefine']
