"""Test-time augmentation for images of numbers."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseTTAModel
from mmpretrain.structures import DataSample

from mmdcn.models.heads.sequence_head import SequenceProbabilities, set_predictions
from mmdcn.registry import MODELS


@MODELS.register_module()
class AverageSequenceTTA(BaseTTAModel):
    """Averages the distributions of several views of an image, such as scales (§4.2.3).

    The most probable number is found after averaging. This class wraps a classifier whose head is
    a ``SequenceHead``.
    """

    def merge_preds(self, data_samples_list: Sequence[Sequence[DataSample]]) -> list[DataSample]:
        """Merge the data samples of all views of each image into one data sample per image."""
        length, digits = (
            torch.stack(
                [
                    torch.stack([view.get(field) for view in views]).mean(0)
                    for views in data_samples_list
                ]
            )
            for field in ('pred_length', 'pred_digits')
        )
        merged = [views[0].new() for views in data_samples_list]
        return set_predictions(SequenceProbabilities(length, digits), merged)
