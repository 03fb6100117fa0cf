import torch
from mmpretrain.structures import DataSample
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from mmdcn.evaluation.functional import overlap_areas
from mmdcn.registry import MODELS

from .measured import Measured

TIE_BREAK = 1e-3  # the share of its score that a patch loses on its way out of an object


@MODELS.register_module()
class OracleCells(nn.Module):
    """The cells whose patches cover most of the true boxes: what knowing the place is worth.

    A cell's score is the share of the objects' area that its patch covers. Many patches can
    lie wholly inside of an object; among those, and all that cover as much, the ones nearer to
    its middle go first, where there is most of it: the corners of a box are often empty. So
    chosen patches spread from the middle to all sides.

    Args:
        patch_extractor: The DCN's own, config or module; says which pixels a patch covers.
    """

    def __init__(self, *, patch_extractor: dict | nn.Module):
        super().__init__()
        self.patch_extractor = (
            MODELS.build(patch_extractor) if isinstance(patch_extractor, dict) else patch_extractor
        )

    def forward(
        self, coarse: torch.Tensor, head: nn.Module, data_samples: list[DataSample] | None = None
    ) -> Measured:
        """Compute the saliency map.

        Args:
            coarse: (N, D, s1, s2); only its shape counts.
            head: Not run.
            data_samples: N, each with ``gt_bboxes`` (number of objects, 4), (x1, y1, x2, y2)
                in pixels of the input.

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
        # An object of padding has no area and is covered by nothing.
        objects = pad_sequence([sample.gt_bboxes for sample in data_samples], batch_first=True)
        objects = objects.to(coarse.device, torch.float32)  # (N, M, 4)
        grid = coarse.shape[-2:]
        cells = torch.arange(grid.numel(), device=coarse.device).unsqueeze(0)
        patches = self.patch_extractor.boxes(cells, grid).float()  # (1, s1·s2, 4)
        covered = overlap_areas(patches, objects)  # (N, s1·s2, M)
        covered = covered * (1 - TIE_BREAK * _distance(patches, objects))
        total = _size(objects).prod(dim=-1).sum(dim=1).clamp(min=1)  # (N, )
        return Measured((covered.sum(dim=2) / total.unsqueeze(1)).unflatten(1, grid))


def _distance(patches: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
    """From centre to centre, 0 to 1 where both touch: (1, S, 4), (N, M, 4) -> (N, S, M)."""
    patches, objects = patches.unsqueeze(2), objects.unsqueeze(1)
    between = (patches[..., :2] + patches[..., 2:] - objects[..., :2] - objects[..., 2:]).abs() / 2
    return (between / (_size(patches) + _size(objects))).sum(dim=-1)


def _size(boxes: torch.Tensor) -> torch.Tensor:
    """(..., 4) -> (..., 2), width and height."""
    return boxes[..., 2:] - boxes[..., :2]
