"""Accuracy of reading numbers."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from mmdcn.registry import METRICS

from .fields import field_of

NO_DIGIT = 10


@METRICS.register_module()
class SequenceAccuracy(BaseMetric):
    """Measures how many numbers are read without any mistake, in percent.

    - ``sequence``: the length and all digits are right; this is 100 minus the paper's error.
    - ``length``: the length is right.
    - ``digit``: share of the true digits that are read right at their place.
    - ``sequence_of_<n>``: ``sequence`` among the numbers of n digits.
    - ``coverage_at_<p>``: the largest share of the images, taken from the most confident on, that
      still has p percent read right (Goodfellow et al., 2013).

    The data samples must have ``gt_sequence``, ``pred_sequence`` and ``pred_confidence``. A number
    that is too long for the head has length class −1 and is always wrong.

    Args:
        coverage_accuracy: The accuracy p, as a share.
        collect_device: ``'cpu'`` or ``'gpu'``, where ranks exchange results.
        prefix: Prefix of the metrics' names.

    Raises:
        ValueError: ``coverage_accuracy`` is not within (0, 1].
    """

    default_prefix = 'accuracy'

    def __init__(self, *, coverage_accuracy: float = 0.98, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < coverage_accuracy <= 1:
            raise ValueError(
                f'SequenceAccuracy(coverage_accuracy=...) is a share and must be '
                f'within (0, 1], got {coverage_accuracy}.'
            )
        self.coverage_accuracy = coverage_accuracy

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        """Store truth, prediction and confidence of each image.

        Raises:
            ValueError: A data sample lacks a field.
        """
        for sample in data_samples:
            self.results.append(
                (
                    torch.as_tensor(field_of(sample, 'gt_sequence', self)).tolist(),
                    field_of(sample, 'pred_sequence', self).tolist(),
                    float(field_of(sample, 'pred_confidence', self)),
                )
            )

    def compute_metrics(self, results: list[tuple[list, list, float]]) -> dict[str, float]:
        """Average over images or digits."""
        truth = torch.tensor([result[0] for result in results])
        found = torch.tensor([result[1] for result in results])
        confidence = torch.tensor([result[2] for result in results], dtype=torch.float64)
        right = (truth == found).all(1)
        there = truth[:, 1:] != NO_DIGIT
        shares = dict(
            sequence=right, length=truth[:, 0] == found[:, 0], digit=(truth == found)[:, 1:][there]
        )
        for length in truth[:, 0].unique().tolist():
            if length >= 0:
                shares[f'sequence_of_{length + 1}'] = right[truth[:, 0] == length]
        percents = {name: 100 * share.double().mean().item() for name, share in shares.items()}
        percents[f'coverage_at_{100 * self.coverage_accuracy:g}'] = 100 * coverage(
            right, confidence, self.coverage_accuracy
        )
        return percents


def coverage(right: torch.Tensor, confidence: torch.Tensor, accuracy: float) -> float:
    """Return the largest share of answers, most confident first, that is accurate enough.

    Answers of equal confidence are kept or dropped together.

    Args:
        right: (N,) bool.
        confidence: (N,).
        accuracy: Required accuracy among the kept answers.

    Returns:
        float: Within [0, 1].
    """
    confidence, order = confidence.sort(descending=True)
    kept = torch.arange(1, len(right) + 1)
    enough = right[order].cumsum(0) >= accuracy * kept
    ends = torch.cat((confidence[1:] < confidence[:-1], torch.tensor([True])))
    return (kept * (enough & ends)).max().item() / len(right)
