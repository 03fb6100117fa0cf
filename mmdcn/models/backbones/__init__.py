from .cluttered_mnist import ClutteredMNISTCoarse, ClutteredMNISTFine
from .svhn import SVHNCoarse, SVHNFine

__all__ = ['ClutteredMNISTCoarse', 'ClutteredMNISTFine', 'SVHNCoarse', 'SVHNFine']
