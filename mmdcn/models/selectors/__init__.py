from .top_k import TopKSelector

__all__ = ['TopKSelector']
