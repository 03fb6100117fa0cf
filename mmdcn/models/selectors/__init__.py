from .adaptive import EntropySelector, MassSelector
from .top_k import TopKSelector

__all__ = ['EntropySelector', 'MassSelector', 'TopKSelector']
