"""Normalisation of images of any sizes."""

import torch
from mmpretrain.models.utils import ClsDataPreprocessor

from mmdcn.registry import MODELS
from mmdcn.structures import join, stack


@MODELS.register_module()
class UnpaddedDataPreprocessor(ClsDataPreprocessor):
    """MMPretrain's ``ClsDataPreprocessor``, which does not pad images to one size.

    Where a batch has images of several sizes, ``inputs`` is a :class:`mmdcn.structures.Ragged`.
    In a ``DCNClassifier`` it stands in for ``ClsDataPreprocessor``, with the same options.
    """

    keeps_sizes = True

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise and stack images, and prepare labels.

        Raises:
            ValueError: Batch augmentations would mix images that differ in size.
        """
        images = data['inputs']
        if isinstance(images, torch.Tensor) or len({image.shape[1:] for image in images}) == 1:
            return super().forward(data, training)
        if training and self.batch_augments is not None:
            raise ValueError(
                'Batch augmentations mix images of one size, but the images of a batch differ in '
                'size: resize or crop them to one size in the pipeline, or leave train_cfg out.'
            )
        normalize = super().forward
        parts = [
            normalize(dict(inputs=part))['inputs'] for part in stack(self.cast_data(images)).parts
        ]
        labels = normalize({**data, 'inputs': parts[0].new_zeros(len(images), 1, 1, 1)}, training)
        return {**labels, 'inputs': join(parts)}
