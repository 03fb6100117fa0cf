"""Coarse and fine towers, one file per experiment."""

from .cluttered_mnist import ClutteredMNISTCoarse, ClutteredMNISTFine
from .megapixel_mnist import MegapixelMNISTCoarse, MegapixelMNISTFine
from .svhn import SVHNCoarse, SVHNFine

__all__ = [
    'ClutteredMNISTCoarse',
    'ClutteredMNISTFine',
    'MegapixelMNISTCoarse',
    'MegapixelMNISTFine',
    'SVHNCoarse',
    'SVHNFine',
]
