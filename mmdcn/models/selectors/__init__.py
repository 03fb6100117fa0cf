"""Selectors: choose the cells that get a patch."""

from .adaptive import AdaptiveSelector, EntropySelector, MassSelector
from .top_k import TopKSelector

__all__ = ['AdaptiveSelector', 'EntropySelector', 'MassSelector', 'TopKSelector']
