from typing import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence


def patch_hit(patch_bboxes: torch.Tensor, gt_bboxes: Sequence[torch.Tensor]) -> torch.Tensor:
    """The share of an image's patches that overlap one of its objects.

    Boxes are (x1, y1, x2, y2) in pixels, x2 and y2 just outside.

    Args:
        patch_bboxes: (N, k, 4).
        gt_bboxes: N tensors (number of objects, 4).

    Returns:
        Tensor: (N,) float32 in [0, 1]; 0 for k = 0.
    """
    # An object of padding has no area and overlaps nothing.
    objects = pad_sequence(list(gt_bboxes), batch_first=True).to(patch_bboxes.device)
    patches, objects = patch_bboxes.unsqueeze(2), objects.unsqueeze(1)
    top_left = torch.maximum(patches[..., :2], objects[..., :2])
    bottom_right = torch.minimum(patches[..., 2:], objects[..., 2:])
    overlaps = (top_left < bottom_right).all(dim=-1).any(dim=-1)  # (N, k)
    return overlaps.sum(dim=1) / max(overlaps.size(1), 1)
