import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample

from mmdcn.evaluation.metrics import SequenceAccuracy
from mmdcn.evaluation.metrics.sequence_accuracy import coverage


def read(truth, found, confidence=0.5):
    def sequence(digits):
        return torch.tensor([len(digits) - 1, *digits] + [10] * (5 - len(digits)))

    sample = DataSample()
    for name, value in (
        ('gt_sequence', sequence(truth)),
        ('pred_sequence', sequence(found)),
        ('pred_confidence', torch.tensor(confidence)),
    ):
        sample.set_field(value, name)
    return sample


def evaluate(samples, **options):
    evaluator = Evaluator(dict(type='SequenceAccuracy', **options))
    for sample in samples:
        evaluator.process(data_samples=[sample])
    return evaluator.evaluate(len(samples))


def test_sequences_lengths_and_digits_are_counted_apart():
    found = evaluate(
        [read([1, 2], [1, 2]), read([3, 4], [3, 5]), read([7], [7, 7]), read([9, 9, 9], [9, 9, 9])]
    )
    assert found['accuracy/sequence'] == 50
    assert found['accuracy/length'] == 75
    assert found['accuracy/digit'] == 100 * 7 / 8
    assert found['accuracy/sequence_of_1'] == 0
    assert found['accuracy/sequence_of_2'] == 50
    assert found['accuracy/sequence_of_3'] == 100


def test_a_number_too_long_to_be_represented_is_wrong_whatever_is_read():
    sample = read([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    sample.gt_sequence[0] = -1
    found = evaluate([sample, read([1], [1])])
    assert found['accuracy/sequence'] == 50
    assert 'accuracy/sequence_of_0' not in found


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=12),
    st.sampled_from([0.5, 0.75, 0.98, 1.0]),
)
def test_coverage_is_the_largest_confident_share_that_is_accurate_enough(answers, accuracy):
    shares = [0]
    for threshold in range(6):
        kept = [right for right, confidence in answers if confidence >= threshold]
        if kept and sum(kept) >= accuracy * len(kept):
            shares.append(len(kept) / len(answers))
    right, confidence = (torch.tensor(column) for column in zip(*answers, strict=True))
    assert coverage(right, confidence.double(), accuracy) == pytest.approx(max(shares))


def test_coverage_is_named_after_its_accuracy():
    samples = [read([1], [1], 0.9), read([2], [2], 0.8), read([3], [4], 0.7), read([5], [5], 0.6)]
    assert evaluate(samples)['accuracy/coverage_at_98'] == 50
    assert evaluate(samples, coverage_accuracy=0.75)['accuracy/coverage_at_75'] == 100


@pytest.mark.parametrize('share', [0, 98])
def test_a_share_out_of_range_is_named(share):
    with pytest.raises(
        ValueError,
        match=r'SequenceAccuracy\(coverage_accuracy=...\) is a share and'
        r' must be within \(0, 1\], got',
    ):
        SequenceAccuracy(coverage_accuracy=share)


@pytest.mark.parametrize(
    'field, remedy',
    [
        ('gt_sequence', r"pack it with PackInputs\(algorithm_keys=\('gt_sequence', \)\)"),
        ('pred_sequence', 'the model does not predict it, so remove SequenceAccuracy from the'),
        ('pred_confidence', 'the model does not predict it, so remove SequenceAccuracy from the'),
    ],
)
def test_a_field_that_is_missing_is_named(field, remedy):
    sample = read([1], [1])
    sample.pop(field)
    with pytest.raises(ValueError, match=f'SequenceAccuracy needs {field}, which .*: {remedy}'):
        evaluate([sample])
