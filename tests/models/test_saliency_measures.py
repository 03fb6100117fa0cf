"""What every saliency measure keeps to, and what each of the simple ones computes."""

import copy
import math

import pytest
import torch
from mmpretrain.structures import DataSample
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmdcn.models import (
    ActivationNorm,
    ClassActivation,
    GlobalMaxPoolHead,
    InverseEntropy,
    OracleCells,
    PatchGrid,
    RandomCells,
    SequenceHead,
)
from mmdcn.models import saliency as package
from mmdcn.registry import MODELS

from .dcns import build_dcn, labelled, stir_statistics

GRID = dict(type='PatchGrid', size=14, stride=4, offset=-1)
MEASURES = {
    **{name: {} for name in package.__all__ if name not in ('BaseSaliency', 'HeadReading')},
    'InverseEntropy': dict(head=dict(type='SequenceHead', in_channels=24)),
    'OracleCells': dict(grid=GRID),
}


@pytest.fixture(params=MEASURES)
def measure(request):
    return MODELS.build(dict(type=request.param, **MEASURES[request.param]))


@pytest.fixture
def head():
    head = GlobalMaxPoolHead(num_classes=10, in_channels=24)
    stir_statistics(head)
    return head


def boxed(*boxes):
    """Data samples, one an image; a box is (x1, y1, x2, y2), a list of them is an image's."""
    samples = labelled(len(boxes))
    for sample, box in zip(samples, boxes, strict=True):
        sample.set_field(torch.tensor(box, dtype=torch.float32).view(-1, 4), 'gt_bboxes')
    return samples


BOXES = boxed((0, 0, 28, 28), (72, 60, 100, 88), (31, 7, 59, 35))


def test_every_measure_is_registered():
    assert all(MODELS.get(name) is getattr(package, name) for name in MEASURES)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('context', [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_a_map_is_float32_not_negative_and_without_a_graph(measure, head, dtype, context):
    coarse = torch.randn(3, 24, 23, 21, requires_grad=True)
    with context(), torch.autocast('cpu', dtype=torch.bfloat16, enabled=dtype != torch.float32):
        found, entropy, _ = measure(coarse.to(dtype), head, BOXES)
    assert found.shape == (3, 23, 21) and found.dtype == torch.float32
    assert found.isfinite().all() and found.min() >= 0 and found.max() > 0
    assert not found.requires_grad
    assert entropy is None or (entropy.shape == (3,) and entropy.dtype == torch.float32)


def test_a_measure_leaves_no_trace_in_a_training_head(measure, head):
    head.train()
    before = copy.deepcopy(head.state_dict())
    measure(torch.rand(3, 24, 23, 23, requires_grad=True), head, BOXES)
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    assert all(part.training for part in head.modules())
    assert all(weight.grad is None for weight in head.parameters())


@pytest.mark.parametrize('measure', sorted(set(MEASURES) - {'RandomCells'}), indirect=True)
@pytest.mark.parametrize('training', [True, False])
def test_an_image_is_measured_alike_alone_and_in_a_batch(measure, head, training):
    coarse = torch.rand(3, 24, 23, 23)
    together = measure(coarse, head.train(training), BOXES).saliency
    torch.testing.assert_close(
        together[1:2], measure(coarse[1:2], head, BOXES[1:2]).saliency, rtol=1e-4, atol=1e-7
    )


def test_a_measure_never_waits_for_a_value(measure, head):
    with FakeTensorMode(allow_non_fake_inputs=True):  # there are no values to wait for
        assert measure(torch.rand(3, 24, 23, 23), head, BOXES).saliency.shape == (3, 23, 23)


def test_a_dcn_trains_and_predicts_with_every_measure(measure):
    dcn = build_dcn(selector=dict(k=4), saliency=measure)
    images = torch.rand(3, 1, 100, 100)
    assert sum(dcn.loss(images, BOXES)[name] for name in ('loss_cls', 'loss_hint')).isfinite()
    dcn.eval()
    with torch.no_grad():
        assert dcn(images, BOXES).shape == (3, 10)
        samples = dcn.predict(images, BOXES)
    for sample in samples:
        assert (
            sample.saliency.flatten()[sample.cells].min()
            == (sample.saliency.flatten().sort().values[-4])
        )


def test_the_activation_norm_is_the_length_of_each_vector(head):
    coarse = torch.randn(2, 5, 3, 4)
    found = ActivationNorm()(coarse, head).saliency
    for image in range(2):
        for row in range(3):
            for column in range(4):
                vector = coarse[image, :, row, column].tolist()
                assert found[image, row, column].item() == pytest.approx(math.hypot(*vector))


def test_random_cells_repeat_under_a_seed_and_differ_between_images_and_calls(head):
    coarse = torch.zeros(2, 24, 23, 23)
    torch.manual_seed(3)
    first, second = RandomCells()(coarse, head).saliency, RandomCells()(coarse, head).saliency
    torch.manual_seed(3)
    assert torch.equal(RandomCells()(coarse, head).saliency, first)
    assert not torch.equal(first[0], first[1]) and not torch.equal(first, second)


def test_random_cells_come_all_equally_often(head):
    chosen = RandomCells()(torch.zeros(24000, 1, 3, 4), head).saliency.flatten(1).argmax(dim=1)
    counts = torch.bincount(chosen, minlength=12)
    spread = math.sqrt(24000 / 12 * (11 / 12))  # of a binomial distribution
    assert (counts - 2000).abs().max() < 4.5 * spread


def test_class_activation_sums_what_speaks_for_the_class_in_the_windows_around_a_cell():
    head = GlobalMaxPoolHead(
        num_classes=3, in_channels=2, mid_channels=5, kernel_size=3, stride=2
    ).eval()
    stir_statistics(head)
    coarse = torch.randn(2, 2, 8, 6)  # the last row and column are in no window
    found = ClassActivation()(coarse, head).saliency
    for image in range(2):
        predicted = head(coarse[image : image + 1]).argmax()
        expected = torch.zeros(8, 6)
        for y in (0, 2, 4):
            for x in (0, 2):
                window = coarse[image : image + 1, :, y : y + 3, x : x + 3]
                responses = head.conv(window).flatten().tolist()
                expected[y : y + 3, x : x + 3] += sum(
                    weight * response
                    for weight, response in zip(
                        head.fc.weight[predicted].tolist(), responses, strict=True
                    )
                    if weight > 0
                )
        torch.testing.assert_close(found[image], expected)


@pytest.mark.parametrize('window', [(1, 1), (2, 1)])
def test_class_activation_of_a_sequence_head_is_the_probability_of_the_digits_read(window):
    head = SequenceHead(in_channels=6, max_length=3, window=window)
    nn.init.normal_(head.classifier.weight, std=3.0)
    coarse = torch.randn(8, 6, 3, 4)
    sequences = torch.stack([sample.pred_sequence for sample in head.predict(coarse)])
    assert 1 < len(sequences[:, 0].unique())
    found = ClassActivation()(coarse, head).saliency
    for image, (length, *digits) in enumerate(sequences.tolist()):
        expected = torch.zeros(3, 4)
        for y in range(3 - window[0] + 1):
            for x in range(4 - window[1] + 1):
                cells = coarse[image, :, y : y + window[0], x : x + window[1]].flatten(1)
                logits = head.classifier(cells.mean(1, keepdim=True))[3:, 0].view(3, 11)
                said = sum(logits[place].softmax(0)[digits[place]] for place in range(length + 1))
                expected[y : y + window[0], x : x + window[1]] += said / cells.size(1)
        torch.testing.assert_close(found[image], expected)


def oracle():
    return OracleCells(grid=PatchGrid(size=14, stride=4, offset=-1))


def test_the_oracles_score_is_the_share_of_the_boxes_that_a_patch_covers(head):
    boxes = [(3, 5, 31, 33), (50, 40, 60, 100)]
    found = oracle()(torch.zeros(1, 24, 23, 23), head, boxed(boxes)).saliency[0]
    canvas = torch.zeros(110, 110)  # five pixels of border on all sides
    for x1, y1, x2, y2 in boxes:
        canvas[y1 + 5 : y2 + 5, x1 + 5 : x2 + 5] += 1
    for row in range(23):
        for column in range(23):
            top, left = 4 * row - 1 + 5, 4 * column - 1 + 5
            share = canvas[top : top + 14, left : left + 14].sum() / canvas.sum()
            torch.testing.assert_close(found[row, column], share, rtol=1e-3, atol=0)


def test_of_patches_that_cover_as_much_the_oracle_takes_the_middle_first(head):
    # The box's middle is that of the patch of cell (5, 5): 4 * 5 - 1 + 7 = 26.
    found = oracle()(torch.zeros(1, 24, 23, 23), head, boxed((12, 12, 40, 40))).saliency[0]
    order = [divmod(cell, 23) for cell in found.flatten().argsort(descending=True).tolist()]
    assert order[0] == (5, 5)
    assert set(order[1:5]) == {(4, 5), (6, 5), (5, 4), (5, 6)}
    assert set(order[5:9]) == {(4, 4), (4, 6), (6, 4), (6, 6)}


def test_a_patch_that_covers_more_comes_before_any_nearer_to_the_middle(head):
    found = OracleCells(grid=PatchGrid(size=2, stride=1))(
        torch.zeros(1, 24, 11, 11), head, boxed((1, 1, 4, 9))
    ).saliency[0]
    inside = torch.zeros(11, 11, dtype=torch.bool)
    inside[1:8, 1:3] = True
    assert found[inside].min() > found[~inside].max()


def test_an_image_without_objects_has_no_salient_cell(head):
    found = oracle()(torch.zeros(2, 24, 23, 23), head, boxed((0, 0, 28, 28), [])).saliency
    assert found[0].max() > 0 and (found[1] == 0).all()


@pytest.mark.parametrize('samples', [None, [DataSample()], boxed((0, 0, 9, 9)) + labelled(1)])
def test_an_oracle_without_boxes_says_how_to_get_them(head, samples):
    with pytest.raises(
        ValueError,
        match='OracleCells looks where the true boxes are, but got '
        'data samples without gt_bboxes: pack them with '
        'PackInputs',
    ):
        oracle()(torch.zeros(2, 24, 23, 23), head, samples)


def test_a_dcn_with_an_oracle_puts_every_patch_onto_the_object():
    dcn = build_dcn(saliency=dict(type='OracleCells')).eval()
    assert dcn.loss(torch.rand(3, 1, 100, 100), BOXES)['patch_hit'] == 1
    with pytest.raises(ValueError, match='OracleCells looks where'):
        dcn(torch.rand(1, 1, 100, 100))


def test_an_oracle_gets_the_grid_of_its_dcn_where_its_own_is_open():
    dcn = build_dcn(saliency=dict(type='OracleCells'), grid=dict(size=18))
    assert dcn.saliency.grid is dcn.grid
    own = build_dcn(saliency=dict(type='OracleCells', grid={**GRID, 'size': 16}))
    assert own.saliency.grid.size == (16, 16) and own.grid.size == (14, 14)
    found_out = build_dcn(
        saliency=dict(type='OracleCells'), grid=MODELS.build({**GRID, 'stride': 5})
    )
    assert found_out.saliency.grid.stride == (5, 5)


def test_inverse_entropy_is_that_of_each_cells_digits():
    head, coarse = SequenceHead(in_channels=6), torch.randn(2, 6, 3, 4)
    found = InverseEntropy()(coarse, head).saliency
    p = head.at_each_place(coarse).digits  # (2, 5, 11, 12)
    for image, row, column in ((0, 0, 0), (1, 2, 3), (0, 1, 2)):
        entropy = -sum(
            q * math.log(q) for digit in p[image, :, :, 4 * row + column].tolist() for q in digit
        )
        assert found[image, row, column].item() == pytest.approx(1 / entropy, rel=1e-4)


def test_a_head_that_is_sure_of_a_place_is_as_sure_as_can_be():
    head, coarse = SequenceHead(in_channels=6), torch.randn(1, 6, 2, 2)
    coarse[..., 1, 1] *= 1e6
    found = InverseEntropy()(coarse, head).saliency
    assert found.isfinite().all() and found.argmax() == 3
