"""From raw images to tensors, and from these to predictions, for any runtime."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.models import DCNClassifier, SequenceHead
from mmdcn.models.heads.sequence_head import SequenceProbabilities, most_probable, set_predictions


class RawToOutputs(nn.Module):
    """All that a classifier computes of raw images: normalisation, towers, head and patches.

    Args:
        model: A ``DCNClassifier`` or an MMPretrain ``ImageClassifier``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, images: torch.Tensor) -> dict[str, Any]:
        """Return the outputs by name for raw images of a dataset, (N, C, H, W) uint8.

        The outputs are ``logits`` (N, classes), or for a ``SequenceHead`` ``log_probabilities``
        (N, 12·M) and the most probable ``sequence`` (N, 1 + M). A DCN also gives ``cells`` (N, k),
        ``patch_bboxes`` (N, k, 4) and ``saliency`` (N, s1, s2), as in its predictions. With budgets
        by image, ``cells`` (P,) and ``patch_bboxes`` (P, 4) hold those of all images one after the
        other, and ``budgets`` (N,) says how many each image has.
        """
        images = self.model.data_preprocessor(dict(inputs=images))['inputs']
        seen = self.model.extract_feat(images)
        if not isinstance(self.model, DCNClassifier):
            return self._answer(seen)
        cells = seen.cells
        where = dict(cells=cells.index, patch_bboxes=seen.windows.boxes())
        if cells.budgets is None:
            where = {name: cells.group(rows) for name, rows in where.items()}
        else:
            where['budgets'] = cells.budgets
        return dict(**self._answer(seen.for_head), **where, saliency=seen.saliency)

    def _answer(self, feats: torch.Tensor) -> dict[str, torch.Tensor]:
        head = self.model.head
        if isinstance(head, SequenceHead):
            sequence, _ = most_probable(head.probabilities(feats))
            return dict(log_probabilities=head(feats), sequence=sequence)
        return dict(logits=head(feats))


def predictions(
    head: Any, outputs: Mapping[str, Any], samples: Sequence[DataSample]
) -> list[DataSample]:
    """Turn the outputs of :class:`RawToOutputs` into what the model predicts.

    Args:
        head: The model's head.
        outputs: Tensors by name, on the CPU.
        samples: The N data samples, which are filled.
    """
    if isinstance(head, SequenceHead):
        both = outputs['log_probabilities'].exp()
        length, digits = both.split((head.max_length, both.size(1) - head.max_length), dim=1)
        p = SequenceProbabilities(length, digits.unflatten(1, (head.max_length, -1)))
        filled = set_predictions(p, list(samples))
    else:
        inner = getattr(head, 'head', head)  # of a MapHead
        filled = inner._get_predictions(outputs['logits'], list(samples))
    for name in ('cells', 'patch_bboxes', 'saliency'):
        values = outputs.get(name, ())
        if name != 'saliency' and 'budgets' in outputs:
            values = values.split(outputs['budgets'].tolist())
        for sample, value in zip(filled, values, strict=name in outputs):
            sample.set_field(value, name)
    return filled
