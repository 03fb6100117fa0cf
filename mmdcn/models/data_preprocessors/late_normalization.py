"""Normalisation right before a tower."""

from collections.abc import Sequence
from numbers import Number

import torch
from mmpretrain.models.utils import ClsDataPreprocessor

from mmdcn.registry import MODELS
from mmdcn.structures import parts_of, stack


@MODELS.register_module()
class LateNormalization(ClsDataPreprocessor):
    """Leaves images as they are, so that ``DCNClassifier`` normalises right before each tower.

    A megapixel image in uint8 takes a quarter of the memory of float32. Only the pixels of the
    shrunk image and of the patches are converted. Where a patch reaches outside of the image, its
    pixels are 0 before normalisation, not after it.

    Args:
        mean: Mean of each channel, which is subtracted.
        std: Standard deviation of each channel, which divides the result.
        to_rgb: Whether to convert BGR to RGB.
        to_onehot: Whether data samples also get one-hot labels.
        num_classes: Number of classes, for one-hot labels.
    """

    keeps_sizes = True

    def __init__(
        self,
        *,
        mean: Sequence[Number] | None = None,
        std: Sequence[Number] | None = None,
        to_rgb: bool = False,
        to_onehot: bool = False,
        num_classes: int | None = None,
    ):
        super().__init__(
            mean=mean, std=std, to_rgb=to_rgb, to_onehot=to_onehot, num_classes=num_classes
        )

    def forward(self, data: dict, training: bool = False) -> dict:
        """Stack images, to a ``Ragged`` if they differ in size, and prepare labels."""
        images = self.cast_data(data['inputs'])
        if not isinstance(images, torch.Tensor):
            images = stack(images)
        in_place_of_images = parts_of(images)[0].new_zeros(len(images), 1, 1, 1)
        prepared = super().forward({**data, 'inputs': in_place_of_images}, training)
        return {**prepared, 'inputs': images}

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """Convert (N, C, H, W) of any type to float32, reorder channels and normalise them."""
        if images.dtype != torch.uint8:
            images = images.float()  # first, because torch can hardly compute with some types
        if self.to_rgb and images.size(1) == 3:
            images = images.flip(1)
        images = images.float()
        return (images - self.mean) / self.std if self._enable_normalize else images
