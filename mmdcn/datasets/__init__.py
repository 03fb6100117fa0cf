import mmpretrain.datasets  # noqa: F401  (fills the parent registry)

from .cluttered_mnist import ClutteredMNIST
from .svhn_full import SVHNFull
from .transforms import LoadGrayscale, UpscaleToCover

__all__ = ['ClutteredMNIST', 'LoadGrayscale', 'SVHNFull', 'UpscaleToCover']
