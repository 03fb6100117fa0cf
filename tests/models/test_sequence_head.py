import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpretrain.structures import DataSample

from mmdcn.models import AverageSequenceTTA, EntropyGradient, FineOnlyRefine, SequenceHead
from mmdcn.models.heads.sequence_head import (
    SequenceProbabilities,
    inverse_entropy_weights,
    most_probable,
    set_predictions,
)
from mmdcn.registry import MODELS
from mmdcn.structures import Cells

from .dcns import build_dcn

POOLINGS = ['average', 'inverse_entropy']


def sharp_head(pooling='average', in_channels=6, window=1):
    """A head that is sure of itself here and in doubt there."""
    head = SequenceHead(in_channels=in_channels, window=window, pooling=pooling)
    torch.nn.init.normal_(head.classifier.weight, std=1.5)
    return head


def numbers(*sequences):
    samples = []
    for digits in sequences:
        sample = DataSample()
        sample.set_field(
            torch.tensor([len(digits) - 1, *digits] + [10] * (5 - len(digits))), 'gt_sequence'
        )
        samples.append(sample)
    return samples


def entropy_by_hand(p):
    return -sum(q * math.log(q) for q in p if q > 0)


@pytest.mark.parametrize('pooling', POOLINGS)
@pytest.mark.parametrize('shape', [(3, 6, 4, 5), (3, 6, 1, 1), (3, 6, 4, 2, 3)])
def test_pooled_distributions_sum_to_1(pooling, shape):
    length, digits = sharp_head(pooling).probabilities(3 * torch.randn(shape))
    assert length.shape == (3, 5) and digits.shape == (3, 5, 11)
    torch.testing.assert_close(length.sum(1), torch.ones(3))
    torch.testing.assert_close(digits.sum(2), torch.ones(3, 5))


def test_average_pooling_is_the_mean_of_the_distributions_of_the_cells():
    head, feats = sharp_head(), torch.randn(1, 6, 2, 3)
    weight, bias = head.classifier.weight[:, :, 0], head.classifier.bias
    expected = torch.zeros(60)
    for row, column in itertools.product(range(2), range(3)):
        logits = weight @ feats[0, :, row, column] + bias
        groups = (logits[:5], *logits[5:].split(11))
        expected += torch.cat([group.softmax(0) for group in groups]) / 6
    torch.testing.assert_close(head(feats)[0].exp(), expected)


def test_inverse_entropy_pooling_weighs_each_distribution_by_its_own_certainty():
    head, feats = sharp_head('inverse_entropy'), torch.randn(2, 6, 3, 2)
    length, digits = head.at_each_place(feats)
    pooled = head.probabilities(feats)
    for places, found in ((length[0], pooled.length[0]), (digits[0, 3], pooled.digits[0, 3])):
        certainty = [1 / entropy_by_hand(places[:, cell].tolist()) for cell in range(6)]
        expected = sum(c / sum(certainty) * places[:, cell] for cell, c in enumerate(certainty))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('sure', [0, 1, 3])
def test_weights_sum_to_1_over_the_cells_also_where_an_entropy_is_0(sure):
    p = torch.rand(2, 5, 11, 4).softmax(2)
    p[:, :, :, :sure] = torch.eye(11)[0][:, None]
    weights = inverse_entropy_weights(p, dim=2)
    assert weights.isfinite().all() and (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 5, 1))


def test_a_place_is_a_window_whose_features_are_averaged():
    head, feats = sharp_head(window=(2, 3)), torch.randn(1, 6, 3, 4)
    one_cell = sharp_head()
    one_cell.load_state_dict(head.state_dict())
    windows = torch.stack(
        [
            feats[0, :, row : row + 2, column : column + 3].mean((1, 2))
            for row in range(2)
            for column in range(2)
        ],
        dim=1,
    )
    expected = one_cell.probabilities(windows[None, :, None])
    torch.testing.assert_close(head.probabilities(feats), expected)


def test_a_patch_of_a_windows_size_is_one_place():
    head, feats = sharp_head('inverse_entropy', window=(2, 3)), torch.randn(2, 6, 4, 2, 3)
    one_cell = sharp_head('inverse_entropy')
    one_cell.load_state_dict(head.state_dict())
    expected = one_cell.probabilities(feats.mean((3, 4)).unsqueeze(3))
    torch.testing.assert_close(head.probabilities(feats), expected)


@pytest.mark.parametrize('shape', [(1, 6, 1, 3), (1, 6, 2, 2), (1, 6, 5, 1, 3)])
def test_a_map_smaller_than_the_window_is_refused(shape):
    with pytest.raises(
        ValueError,
        match=r'SequenceHead\(window=\(2, 3\)\) got a map of .* cells: '
        'enlarge the image or patch, or set a smaller window',
    ):
        sharp_head(window=(2, 3))(torch.rand(shape))


def test_a_window_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r'SequenceHead\(window=...\) is at least one cell, got 0'):
        SequenceHead(in_channels=6, window=0)


def test_the_loss_is_that_of_a_plain_computation_image_by_image():
    head, feats = sharp_head(), torch.randn(4, 6, 3, 3)
    truths = ((7,), (1, 2), (0, 0, 9), (5, 4, 3, 2, 1))
    p = head(feats).exp().detach()
    total = 0
    for image, digits in enumerate(truths):
        total -= math.log(p[image, len(digits) - 1])
        for place in range(5):
            label = digits[place] if place < len(digits) else 10
            total -= math.log(p[image, 5 + 11 * place + label])
    loss = head.loss(feats, numbers(*truths))['loss']
    assert loss.item() == pytest.approx(total / 4, rel=1e-5)


def test_the_entropy_is_that_of_the_digits_summed_without_the_length():
    head, feats = sharp_head(), torch.randn(2, 6, 3, 3)
    p = head(feats).exp()[:, 5:].unflatten(1, (5, 11))
    expected = [sum(entropy_by_hand(digit.tolist()) for digit in image) for image in p]
    torch.testing.assert_close(head.entropy(feats), torch.tensor(expected), rtol=1e-4, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_decoding_equals_a_search_over_all_numbers(seed):
    generator = torch.Generator().manual_seed(seed)
    length = (2 * torch.randn(1, 3, generator=generator)).softmax(1)
    digits = (2 * torch.randn(1, 3, 11, generator=generator)).softmax(2)
    best = max(
        (
            math.log(length[0, n - 1])
            + sum(math.log(digits[0, i, s]) for i, s in enumerate(number)),
            [n - 1, *number] + [10] * (3 - n),
        )
        for n in (1, 2, 3)
        for number in itertools.product(range(10), repeat=n)
    )
    sequence, log_p = most_probable(SequenceProbabilities(length, digits))
    assert sequence[0].tolist() == best[1]
    assert log_p.item() == pytest.approx(best[0], rel=1e-5)


def test_gradients_stay_finite_where_the_head_is_wholly_sure():
    for pooling in POOLINGS:
        head = sharp_head(pooling)
        feats = (100 * torch.randn(2, 6, 3, 3)).requires_grad_()
        (head.loss(feats, numbers((1,), (2, 3)))['loss'] + head.entropy(feats).sum()).backward()
        assert feats.grad.isfinite().all()


def test_saliency_differs_between_cells_below_the_probability_map_but_not_above():
    head, feats = sharp_head(), torch.randn(1, 6, 4, 5)
    saliency = EntropyGradient()(feats, head).saliency.flatten()
    assert saliency.unique().numel() == 20

    class AboveTheMap(torch.nn.Module):
        """The same answer as a function of the cells' distributions."""

        def entropy(self, digits):
            p = digits.flatten(2).mean(-1)
            return -(p * p.log()).sum(1)

    above = head.at_each_place(feats).digits.flatten(1, 2).unflatten(-1, (4, 5))
    same = EntropyGradient()(above, AboveTheMap()).saliency.flatten()
    torch.testing.assert_close(same, same[:1].expand(20))


def test_a_head_of_its_own_drives_the_saliency_where_it_has_one():
    own, other = sharp_head(), sharp_head()
    feats = torch.randn(2, 6, 4, 4)
    found = EntropyGradient(head=own)(feats, other).saliency
    assert torch.equal(found, EntropyGradient()(feats, own).saliency)
    built = EntropyGradient(head=dict(type='SequenceHead', in_channels=6))
    assert isinstance(built.head, SequenceHead)


def test_predictions_carry_the_number_its_probability_and_all_distributions():
    head, feats = sharp_head(), torch.randn(2, 6, 3, 3)
    samples = head.predict(feats, numbers((1,), (2,)))
    p = head.probabilities(feats)
    sequence, log_p = most_probable(p)
    for index, sample in enumerate(samples):
        assert torch.equal(sample.pred_sequence, sequence[index])
        torch.testing.assert_close(sample.pred_confidence, log_p[index].exp())
        assert torch.equal(sample.pred_digits, p.digits[index])
        assert torch.equal(sample.pred_length, p.length[index])
        assert 'gt_sequence' in sample
    assert len(head.predict(feats)) == 2


def test_views_of_an_image_are_averaged_before_decoding():
    def view(length, digit):
        p = SequenceProbabilities(torch.tensor([length]), torch.tensor([[digit] * 2]))
        return set_predictions(p, numbers((4,)))[0]

    sure = [0.0] * 9
    one = view([0.9, 0.1], [0.6, 0.4, *sure])
    two = view([0.4, 0.6], [0.1, 0.9, *sure])
    (merged,) = AverageSequenceTTA(Stub()).merge_preds([[one, two]])
    assert merged.pred_sequence.tolist() == [0, 1, 10]
    torch.testing.assert_close(merged.pred_length, torch.tensor([0.65, 0.35]))
    torch.testing.assert_close(merged.pred_confidence, torch.tensor(0.65 * 0.65))
    assert merged.gt_sequence.tolist() == [0, 4, 10, 10, 10, 10]
    assert one.pred_sequence.tolist() == [0, 0, 10]


class Stub(torch.nn.Module):
    def test_step(self, data):
        return data


def test_fine_vectors_alone_make_the_refined_map():
    coarse, cells = torch.rand(2, 6, 4, 4), Cells.fixed(torch.zeros(2, 3).long(), (4, 4))
    vectors, maps = torch.rand(6, 6), torch.rand(6, 6, 2, 5)
    refined = FineOnlyRefine()(coarse, vectors, cells)
    assert refined.shape == (2, 6, 3, 1) and torch.equal(refined[1, :, 2, 0], vectors[5])
    refined = FineOnlyRefine()(coarse, maps, cells)
    assert refined.shape == (2, 6, 3, 2, 5) and torch.equal(refined[1, :, 2], maps[5])


def test_no_patches_are_refused_where_nothing_else_is_read():
    with pytest.raises(
        ValueError,
        match='FineOnlyRefine reads the patches alone and got none: set'
        " the selector's k to at least 1",
    ):
        cells = Cells.fixed(torch.zeros(2, 0).long(), (4, 4))
        FineOnlyRefine()(torch.rand(2, 6, 4, 4), torch.rand(0, 6), cells)
    with pytest.raises(ValueError, match='FineOnlyRefine reads patches alone and would get none'):
        build_dcn(selector=dict(k=0), neck=dict(type='FineOnlyRefine'))


def test_the_head_sits_on_a_backbone_of_mmpretrain():
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='ResNet', depth=18),
            head=dict(type='SequenceHead', in_channels=512),
        )
    )
    images = torch.rand(2, 3, 64, 96)
    model(images, numbers((3, 1), (4,)), mode='loss')['loss'].backward()
    assert model.backbone.conv1.weight.grad.abs().max() > 0
    assert model(images, mode='predict')[0].pred_sequence.shape == (6,)


def test_an_unknown_pooling_is_named():
    with pytest.raises(
        ValueError,
        match=r"SequenceHead\(pooling=...\) must be one of \('average', "
        r"'inverse_entropy'\), got 'max'",
    ):
        SequenceHead(in_channels=6, pooling='max')


def test_a_map_of_other_channels_is_named():
    with pytest.raises(ValueError, match=r'SequenceHead\(in_channels=6\) got a feature map of 7'):
        sharp_head()(torch.rand(1, 7, 2, 2))


def test_samples_without_a_number_are_named():
    with pytest.raises(
        ValueError,
        match=r'which the data samples lack: end the pipeline with '
        r"dict\(type='PackInputs', algorithm_keys=",
    ):
        sharp_head().loss(torch.rand(1, 6, 2, 2), [DataSample()])


@pytest.mark.parametrize('max_length', [3, 8])
def test_sequences_of_another_length_are_refused(max_length):
    head = SequenceHead(in_channels=6, max_length=max_length)
    with pytest.raises(
        ValueError,
        match=rf'max_length={max_length}\) got sequences of up to 5 '
        'digits: set max_length',
    ):
        head.loss(torch.rand(1, 6, 2, 2), numbers([1, 2]))
