"""Datasets, their transforms, and readers of their files."""

import mmpretrain.datasets  # noqa: F401  (fills the parent registry)

from .boxed_pipeline import BoxedPipeline
from .cluttered_mnist import ClutteredMNIST
from .megapixel_mnist import MegapixelMNIST
from .svhn_full import SVHNFull
from .transforms import LoadGrayscale, UpscaleToCover

__all__ = [
    'BoxedPipeline',
    'ClutteredMNIST',
    'LoadGrayscale',
    'MegapixelMNIST',
    'SVHNFull',
    'UpscaleToCover',
]
