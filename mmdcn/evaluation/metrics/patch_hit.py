from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric

from mmdcn.evaluation.functional import patch_hit
from mmdcn.registry import METRICS


@METRICS.register_module()
class PatchHit(BaseMetric):
    """The mean share of patches that overlap an object, in percent.

    Images that an adaptive selector gave no patches don't count.

    Needs ``patch_bboxes`` and ``gt_bboxes`` in the data samples.

    Args:
        collect_device: ``'cpu'`` or ``'gpu'``, where ranks exchange results.
        prefix: Of the metric's name.
    """

    default_prefix = 'patch_hit'

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        """Keep each image's share of hits."""
        for sample in data_samples:
            hit = patch_hit(sample['patch_bboxes'][None], [sample['gt_bboxes']])
            self.results.append(hit.item())

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """Average over the images: -> ``dict(mean=percent)``, 0 if none has patches."""
        return dict(mean=100 * torch.tensor(results).nanmean().nan_to_num().item())
