"""The true boxes as saliency, for comparison."""

from typing import Any

import torch
from mmpretrain.structures import DataSample
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from mmdcn.registry import MODELS
from mmdcn.structures import Measured, overlap_areas

from .base import BaseSaliency

TIE_BREAK = 1e-3  # largest share of its score that a patch loses by its distance from the middle


@MODELS.register_module()
class OracleCells(BaseSaliency):
    """Prefers cells whose patches cover most of the true boxes: an upper bound for saliencies.

    A cell's score is the share of the objects' area that its patch covers. Many patches can cover
    the same area, such as those that lie inside of an object. Among these, patches nearer to the
    object's middle come first, because the corners of a box are often empty. So the chosen patches
    spread from the middle to all sides.

    Args:
        grid: Says which pixels a patch covers, config or module. If None, the DCN sets its own
            grid.
    """

    needs_truth = True

    def __init__(self, *, grid: dict | nn.Module | None = None) -> None:
        super().__init__()
        self.grid: Any = MODELS.build(grid) if isinstance(grid, dict) else grid

    def forward(
        self, coarse: torch.Tensor, head: nn.Module, data_samples: list[DataSample] | None = None
    ) -> Measured:
        """Compute the saliency map.

        Args:
            coarse: (N, D, s1, s2); only its shape counts.
            head: Not run.
            data_samples: N samples, each with ``gt_bboxes`` (number of objects, 4),
                (x1, y1, x2, y2) in pixels of the input.

        Returns:
            Measured: The map, in [0, 1], float32; no entropy.

        Raises:
            ValueError: A data sample is missing or has no ``gt_bboxes``.
        """
        if data_samples is None or not all('gt_bboxes' in sample for sample in data_samples):
            raise ValueError(
                'OracleCells looks where the true boxes are, but got data samples without '
                "gt_bboxes: pack them with PackInputs(algorithm_keys=('gt_bboxes', )) and pass "
                'data_samples to the model, or choose another saliency.'
            )
        # Padding adds objects without area, which no patch covers.
        objects = pad_sequence([sample.gt_bboxes for sample in data_samples], batch_first=True)
        objects = objects.to(coarse.device, torch.float32)  # (N, M, 4)
        grid = (coarse.size(2), coarse.size(3))
        patches = self.grid.all(grid, coarse.device).boxes().unsqueeze(0).float()  # (1, s1·s2, 4)
        covered = overlap_areas(patches, objects)  # (N, s1·s2, M)
        covered = covered * (1 - TIE_BREAK * _distance(patches, objects))
        total = _size(objects).prod(dim=-1).sum(dim=1).clamp(min=1)  # (N, )
        return Measured((covered.sum(dim=2) / total.unsqueeze(1)).unflatten(1, grid))


def _distance(patches: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
    """Return the distances between centres, at most 1 if boxes overlap, (N, S, M)."""
    patches, objects = patches.unsqueeze(2), objects.unsqueeze(1)
    between = (patches[..., :2] + patches[..., 2:] - objects[..., :2] - objects[..., 2:]).abs() / 2
    return (between / (_size(patches) + _size(objects))).sum(dim=-1)


def _size(boxes: torch.Tensor) -> torch.Tensor:
    """Return width and height of boxes: (..., 4) -> (..., 2)."""
    return boxes[..., 2:] - boxes[..., :2]
