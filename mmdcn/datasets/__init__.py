import mmpretrain.datasets  # noqa: F401  (fills the parent registry)

from .cluttered_mnist import ClutteredMNIST

__all__ = ['ClutteredMNIST']
