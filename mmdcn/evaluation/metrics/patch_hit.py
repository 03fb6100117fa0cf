"""How often patches touch an object."""

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric

from mmdcn.registry import METRICS
from mmdcn.structures import patch_hit

from .fields import field_of


@METRICS.register_module()
class PatchHit(BaseMetric):
    """Measures the mean share of patches that overlap an object, in percent.

    Images without patches, as an adaptive selector can leave them, do not count.

    The data samples must have ``patch_bboxes`` and ``gt_bboxes``.

    Args:
        collect_device: ``'cpu'`` or ``'gpu'``, where ranks exchange results.
        prefix: Prefix of the metric's name.
    """

    default_prefix = 'patch_hit'

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        """Store each image's share of hits.

        Raises:
            ValueError: A data sample lacks a field.
        """
        for sample in data_samples:
            patches = field_of(sample, 'patch_bboxes', self)
            hit = patch_hit(patches[None], [field_of(sample, 'gt_bboxes', self)])
            self.results.append(hit.item())

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """Average over the images and return ``dict(mean=percent)``, 0 if none has patches."""
        return dict(mean=100 * torch.tensor(results).nanmean().nan_to_num().item())
