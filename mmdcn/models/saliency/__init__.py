from .entropy_gradient import EntropyGradient

__all__ = ['EntropyGradient']
