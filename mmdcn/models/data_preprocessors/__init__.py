from .late_normalization import LateNormalization

__all__ = ['LateNormalization']
