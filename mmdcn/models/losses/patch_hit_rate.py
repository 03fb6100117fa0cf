"""How often patches touch an object, for the log."""

import torch
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.registry import MODELS
from mmdcn.structures import Glance, patch_hit


@MODELS.register_module()
class PatchHitRate(nn.Module):
    """Logs the mean share of patches that touch an object, if boxes are known.

    Images without patches, as an adaptive selector can leave them, do not count.
    """

    share = 0.0  # takes no share of the gradient from the head's loss

    # Numbers of boxes differ from image to image: torch.compile would compile each anew.
    @torch.compiler.disable
    def forward(
        self, seen: Glance, head: nn.Module, data_samples: list[DataSample]
    ) -> dict[str, torch.Tensor]:
        """Return ``patch_hit``, a scalar in [0, 1], or nothing if samples lack ``gt_bboxes``."""
        if 'gt_bboxes' not in data_samples[0]:
            return {}
        boxes = seen.cells.split(seen.windows.boxes())
        hits = patch_hit(boxes, [sample.gt_bboxes for sample in data_samples])
        return dict(patch_hit=hits.nanmean().nan_to_num())  # 0 if no image has patches
