from collections.abc import Sequence
from numbers import Number

import torch
from mmengine.model import stack_batch
from mmpretrain.models.utils import ClsDataPreprocessor

from mmdcn.registry import MODELS


@MODELS.register_module()
class LateNormalization(ClsDataPreprocessor):
    """Leaves images as they are; a ``DCNClassifier`` normalises what a tower is about to see.

    In uint8 a megapixel image takes a quarter of what it would in float32, and of all its
    pixels only those of the shrunk image and of the patches are converted. Outside of the
    image a patch is 0 before normalisation, not after it.

    Args:
        mean: Of each channel, to be subtracted.
        std: Of each channel, to be divided by.
        to_rgb: Whether to turn the channels round, BGR to RGB.
        to_onehot: Whether data samples get one-hot labels too.
        num_classes: For one-hot labels.
    """

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
        """Stack images, zeros to the right and below of smaller ones, and prepare labels."""
        images = self.cast_data(data['inputs'])
        if not isinstance(images, torch.Tensor):  # one image is not copied
            images = images[0].unsqueeze(0) if len(images) == 1 else stack_batch(images)
        in_place_of_images = images.new_zeros(len(images), 1, 1, 1)
        prepared = super().forward({**data, 'inputs': in_place_of_images}, training)
        return {**prepared, 'inputs': images}

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) of any type -> float32 in the channels' order, less mean, over std."""
        if self.to_rgb and images.size(1) == 3:
            images = images.flip(1)
        images = images.float()
        return (images - self.mean) / self.std if self._enable_normalize else images
