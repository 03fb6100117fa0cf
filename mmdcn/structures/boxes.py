"""Boxes of patches and of objects."""

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence


def patch_hit(
    patch_bboxes: Sequence[torch.Tensor], gt_bboxes: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Compute the share of each image's patches that overlap one of its objects.

    Boxes are (x1, y1, x2, y2) in pixels, where x2 and y2 are just outside of the box.

    Args:
        patch_bboxes: (N, k, 4), or N tensors (number of patches, 4).
        gt_bboxes: N tensors (number of objects, 4).

    Returns:
        Tensor: (N,) float32 in [0, 1]; NaN for an image without patches.
    """
    # Padding adds boxes without area, which overlap nothing.
    patches = (
        patch_bboxes
        if isinstance(patch_bboxes, torch.Tensor)
        else pad_sequence(list(patch_bboxes), batch_first=True)
    )
    objects = pad_sequence(list(gt_bboxes), batch_first=True).to(patches.device)
    overlaps = (overlap_areas(patches, objects) > 0).any(dim=-1)  # (N, k)
    numbers = (patches[..., 2] > patches[..., 0]).sum(dim=1)
    return overlaps.sum(dim=1) / numbers


def overlap_areas(patch_bboxes: torch.Tensor, gt_bboxes: torch.Tensor) -> torch.Tensor:
    """Count the pixels that each patch shares with each object of its image.

    Args:
        patch_bboxes: (N, k, 4), as for :func:`patch_hit`.
        gt_bboxes: (N, M, 4).

    Returns:
        Tensor: (N, k, M), ≥ 0.
    """
    patches, objects = patch_bboxes.unsqueeze(2), gt_bboxes.unsqueeze(1)
    top_left = torch.maximum(patches[..., :2], objects[..., :2])
    bottom_right = torch.minimum(patches[..., 2:], objects[..., 2:])
    width, height = (bottom_right - top_left).clamp(min=0).unbind(dim=-1)
    return width * height
