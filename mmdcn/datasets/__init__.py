"""Datasets, their transforms, and readers of their files."""

import mmpretrain.datasets  # noqa: F401  (fills the parent registry)

from .boxed_pipeline import BoxedPipeline
from .cluttered_mnist import ClutteredMNIST
from .collate import collate_any_sizes
from .megapixel_mnist import MegapixelMNIST
from .svhn_full import SVHNFull
from .transforms import LoadGrayscale, LoadOverview, RandomFlip, RandomTurn, UpscaleToCover

__all__ = [
    'BoxedPipeline',
    'ClutteredMNIST',
    'LoadGrayscale',
    'LoadOverview',
    'MegapixelMNIST',
    'RandomFlip',
    'RandomTurn',
    'SVHNFull',
    'UpscaleToCover',
    'collate_any_sizes',
]
