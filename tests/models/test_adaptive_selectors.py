"""Budgets of their own for each image: how they are chosen, and a DCN that keeps to them."""

import logging
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.logging import MMLogger
from mmpretrain.structures import DataSample
from torch._subclasses.fake_tensor import FakeTensorMode

from mmdcn.analysis import multiplications_by_part
from mmdcn.models import (
    DCNClassifier,
    EntropySelector,
    HintLoss,
    MassSelector,
    PatchGrid,
    TopKSelector,
)
from mmdcn.structures import Cells, Glance, Measured, patch_hit

from ..analysis.test_cost import BACK, CHANGE, COARSE_TOWER, HEAD, LAST, PATCH
from .dcns import build_dcn, digits, labelled, sharp_dcn

NONE = dict(type='EntropySelector', k=8, threshold=9.0)  # above any entropy of 10 classes


def entropies(dcn, images):
    with torch.no_grad():
        return dcn.head.entropy(dcn.coarse(images))


class TestBudgets:
    ENTROPY = torch.tensor([0.0, 0.1, 0.11, 0.5, 1.0, 2.3])
    MAP = torch.rand(6, 3, 4)

    def budgets(self, **options):
        return EntropySelector(**options)(Measured(self.MAP, self.ENTROPY)).budgets.tolist()

    def test_an_image_above_the_threshold_gets_all_k_and_another_nothing(self):
        assert self.budgets(k=5, threshold=0.1) == [0, 0, 5, 5, 5, 5]

    def test_between_two_thresholds_they_grow_with_the_logarithm_rounded_up(self):
        share = [0, 0, math.log(1.1), math.log(5), math.log(10), math.log(10)]
        assert self.budgets(k=8, threshold=0.1, full_threshold=1.0) == [
            math.ceil(8 * s / math.log(10) - 1e-6) for s in share
        ]

    def test_an_entropy_just_below_0_is_that_of_a_sure_image(self):
        selector = EntropySelector(k=4, threshold=0.1, full_threshold=1.0)
        budgets = selector.budgets(Measured(torch.rand(2, 3, 3), torch.tensor([-1e-6, 2.0])))
        assert budgets.tolist() == [0, 4]

    def test_an_image_looks_at_its_most_salient_cells(self):
        cells = EntropySelector(k=2, threshold=0.4)(Measured(self.MAP, self.ENTROPY))
        ranked = self.MAP.flatten(1).argsort(descending=True)
        assert cells.image.tolist() == [3, 3, 4, 4, 5, 5] and cells.budgets.tolist() == [
            0,
            0,
            0,
            2,
            2,
            2,
        ]
        assert cells.index.tolist() == ranked[3:, :2].flatten().tolist()

    @pytest.mark.parametrize(
        'share, expected',
        [
            (0.01, [1, 1]),
            (0.35, [1, 2]),
            (0.5, [2, 2]),
            (0.6, [2, 3]),
            (0.75, [3, 3]),
            (0.85, [3, 4]),
            (0.95, [4, 4]),
        ],
    )
    def test_a_share_of_the_mass_is_held_by_as_few_cells_as_do(self, share, expected):
        saliency = torch.tensor([[[4.0, 1.0], [2.0, 3.0]], [[2.0, 2.5], [3.0, 2.5]]])
        assert MassSelector(k=4, share=share)(Measured(saliency)).budgets.tolist() == expected

    def test_no_more_than_k_are_taken_and_one_at_least(self):
        saliency = torch.stack([torch.ones(5, 5), torch.zeros(5, 5), torch.eye(5)])
        assert MassSelector(k=3, share=0.5)(Measured(saliency)).budgets.tolist() == [3, 1, 3]

    def test_all_cells_are_taken_where_k_is_larger_and_the_log_names_the_selector(self, caplog):
        logger = MMLogger.get_current_instance()
        logger.addHandler(caplog.handler)
        with caplog.at_level(logging.WARNING):
            cells = MassSelector(k=10, share=1.0)(Measured(torch.rand(1, 2, 3)))
        logger.removeHandler(caplog.handler)
        assert sorted(cells.index.tolist()) == list(range(6))
        assert 'MassSelector(k=10): the coarse map has 6 cells only' in caplog.text

    @pytest.mark.parametrize(
        'selector',
        [
            EntropySelector(k=5, threshold=0.3, adapts_in_training=False),
            MassSelector(k=5, share=0.5, adapts_in_training=False),
        ],
        ids=lambda selector: type(selector).__name__,
    )
    def test_in_training_all_images_can_get_k(self, selector):
        saliency = self.MAP.clone()
        saliency[0] = torch.tensor([1.0, 0, 0, 0])  # holds the share in a few cells
        measured = Measured(saliency, self.ENTROPY)
        assert len(set(selector.eval()(measured).budgets.tolist())) > 1
        cells = selector.train()(measured)
        assert torch.equal(cells.index, TopKSelector(k=5)(measured).index) and cells.budgets is None


class TestOptions:
    @pytest.mark.parametrize(
        'selector, options, sentence',
        [
            (
                EntropySelector,
                dict(k=-1, threshold=0.1),
                r'EntropySelector\(k=...\) counts patches',
            ),
            (
                EntropySelector,
                dict(k=8, threshold=-0.1),
                r'EntropySelector\(threshold=...\) is an '
                'entropy in nats and must be at least 0, got -0.1',
            ),
            (
                EntropySelector,
                dict(k=8, threshold=0.2, full_threshold=0.2),
                'must be above the '
                'threshold and that above 0, got threshold=0.2 and full_threshold=0.2: leave',
            ),
            (EntropySelector, dict(k=8, threshold=0, full_threshold=0.2), 'that above 0, got '),
            (MassSelector, dict(k=0, share=0.2), r'MassSelector\(k=...\) takes one patch'),
            (
                MassSelector,
                dict(k=8, share=0),
                r'MassSelector\(share=...\) is a share of the '
                r'saliency and must be within \(0, 1\], got 0',
            ),
            (MassSelector, dict(k=8, share=1.1), r'within \(0, 1\], got 1.1'),
        ],
    )
    def test_what_makes_no_sense_is_refused_at_once(self, selector, options, sentence):
        with pytest.raises(ValueError, match=sentence):
            selector(**options)

    def test_a_k_that_is_no_integer_is_named_after_its_selector(self):
        with pytest.raises(TypeError, match=r'MassSelector\(k=...\) counts patches and must be an'):
            MassSelector(k=2.5, share=0.2)

    @pytest.mark.parametrize(
        'saliency', ['ActivationNorm', 'RandomCells', 'OracleCells', 'ClassActivation']
    )
    def test_a_saliency_without_entropy_is_no_help_to_the_entropy_selector(self, saliency):
        with pytest.raises(
            ValueError,
            match='EntropySelector needs the entropy of the coarse prediction, which '
            f'{saliency} does not compute: use EntropyGradient',
        ):
            build_dcn(selector=NONE, saliency=dict(type=saliency))

    def test_a_map_without_entropy_is_refused_by_the_entropy_selector_itself_too(self):
        with pytest.raises(ValueError, match='EntropySelector needs the entropy'):
            EntropySelector(k=2, threshold=0.1)(Measured(torch.rand(1, 3, 3)))

    @pytest.mark.parametrize('selector', [NONE, dict(type='MassSelector', share=0.2)])
    def test_a_neck_of_fine_vectors_alone_wants_as_many_of_each_image(self, selector):
        with pytest.raises(
            ValueError,
            match='FineOnlyRefine needs the same number of patches for all images, but '
            f'{selector["type"]} gives them different numbers: choose TopKSelector, or SwapRefine '
            'as the neck',
        ):
            build_dcn(selector=selector, neck=dict(type='FineOnlyRefine'))


def one_by_one(dcn, images, budgets):
    """The logits of each image alone with a fixed number of patches."""
    fixed = DCNClassifier(
        coarse=dcn.coarse,
        fine=dcn.fine,
        head=dcn.head,
        selector=dict(type='TopKSelector', k=0),
        grid=dcn.grid,
    ).eval()
    logits = []
    for image, budget in zip(images, budgets, strict=True):
        fixed.selector = TopKSelector(k=budget)
        logits.append(fixed(image.unsqueeze(0)))
    return torch.cat(logits)


class TestPackedBatch:
    @settings(max_examples=10, deadline=None)
    @given(data=st.data())
    def test_it_gives_the_logits_of_each_image_alone_with_its_own_fixed_k(self, data):
        torch.manual_seed(data.draw(st.integers(0, 99)))
        if data.draw(st.booleans()):
            threshold = data.draw(st.floats(1e-4, 2.0))
            selector = dict(
                type='EntropySelector',
                threshold=threshold,
                full_threshold=data.draw(
                    st.one_of(st.none(), st.floats(1.5, 100.0).map(lambda x: x * threshold))
                ),
            )
        else:
            selector = dict(type='MassSelector', share=data.draw(st.floats(0.01, 0.4)))
        selector['k'] = data.draw(st.integers(1, 12))
        dcn, images = sharp_dcn(selector=selector), digits(5)
        with torch.no_grad():
            seen, logits = dcn.extract_feat(images), dcn(images)
            expected = one_by_one(dcn, images, seen.cells.budgets.tolist())
        torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)

    def test_an_image_below_the_threshold_keeps_exactly_its_coarse_answer(self):
        dcn, images = sharp_dcn(), digits(6)
        found = entropies(dcn, images)
        dcn.selector = EntropySelector(k=3, threshold=found.median().item())
        with torch.no_grad():
            coarse, refined = dcn.head(dcn.coarse(images)), dcn(images)
        sure = found <= found.median()
        assert 0 < sure.sum() < 6
        assert torch.equal(refined[sure], coarse[sure])
        assert not torch.isclose(refined[~sure], coarse[~sure]).any(dim=1).all()

    def test_the_fine_tower_works_on_the_chosen_patches_only(self):
        dcn, images = sharp_dcn(), digits(6)
        found = entropies(dcn, images)
        dcn.selector = EntropySelector(k=3, threshold=found.median().item())
        parts = multiplications_by_part(dcn, images)
        chosen = 3 * (found > found.median()).sum().item()
        assert parts == {
            'coarse': 6 * COARSE_TOWER,
            'head on coarse': 6 * HEAD,
            'saliency': 6 * BACK,
            'fine': chosen * PATCH,
            'neck': 0,
            'head on refined': 6 * LAST + chosen * CHANGE,
        }

    def test_gradients_and_losses_are_those_of_the_images_one_by_one(self):
        dcn, images = (
            sharp_dcn(
                selector=dict(type='MassSelector', k=9, share=0.06), hint=dict(loss_weight=0.3)
            ),
            digits(4),
        )
        samples = labelled(4)
        losses = dcn.loss(images, samples)
        (losses['loss_cls'] + losses['loss_hint']).backward()
        found = {name: weight.grad.clone() for name, weight in dcn.named_parameters()}
        budgets = dcn.extract_feat(images).cells.budgets.tolist()
        assert len(set(budgets)) > 1
        dcn.zero_grad()
        for index, budget in enumerate(budgets):
            dcn.selector = TopKSelector(k=budget)
            alone = dcn.loss(images[index : index + 1], samples[index : index + 1])
            # A mean over images, and one over all patches.
            (alone['loss_cls'] / 4 + alone['loss_hint'] * budget / sum(budgets)).backward()
        for name, weight in dcn.named_parameters():
            torch.testing.assert_close(found[name], weight.grad, rtol=1e-3, atol=1e-4), name

    def test_predictions_tell_the_cells_and_boxes_of_each_image_only(self):
        dcn, images = sharp_dcn(), digits(6)
        found = entropies(dcn, images)
        dcn.selector = EntropySelector(
            k=5, threshold=found.min().item(), full_threshold=found.max().item()
        )
        with torch.no_grad():
            seen, samples = dcn.extract_feat(images), dcn.predict(images)
        assert {0, 5} < set(seen.cells.budgets.tolist())
        grid = PatchGrid(size=14, stride=4, offset=-1)
        for sample, budget in zip(samples, seen.cells.budgets.tolist(), strict=True):
            expected = TopKSelector(k=budget)(Measured(sample.saliency.unsqueeze(0)))
            assert torch.equal(sample.cells, expected.index)
            assert torch.equal(sample.patch_bboxes, grid(expected).boxes())

    def test_a_patch_map_is_averaged_for_the_hint_as_it_is_for_a_fixed_k(self):
        coarse, fine = torch.rand(2, 24, 5, 5), torch.rand(6, 24, 2, 2)
        ranked = torch.tensor([[3, 1, 9], [0, 24, 7]])
        fixed = Cells.fixed(ranked, (5, 5))
        own = Cells.budgeted(ranked, torch.tensor([3, 3]), (5, 5))
        distances = [
            HintLoss().distance(Glance(coarse, None, None, cells, None, seen, None))
            for cells in (own, fixed)
            for seen in (fine, fine.mean(dim=(2, 3)))
        ]
        for distance in distances[1:]:
            torch.testing.assert_close(distance, distances[0])


class TestBatchWithoutPatches:
    @pytest.mark.parametrize('training', [False, True])
    def test_it_is_the_coarse_models(self, training):
        images = digits(4)
        dcn, plain = build_dcn(selector=NONE), build_dcn(selector=dict(k=0))
        plain.load_state_dict(dcn.state_dict())
        assert torch.equal(dcn.train(training)(images), plain.train(training)(images))

    def test_it_trains_head_and_coarse_tower_and_leaves_the_fine_tower_as_it_is(self):
        dcn = build_dcn(selector=NONE, hint=dict(loss_weight=0.3)).train()
        before = {name: value.clone() for name, value in dcn.fine.state_dict().items()}
        samples = labelled(3)
        for sample in samples:
            sample.set_field(torch.tensor([[0.0, 0.0, 28.0, 28.0]]), 'gt_bboxes')
        losses = dcn.loss(digits(3), samples)
        assert losses['patch_hit'] == 0 and losses['hint_distance'] == 0
        (losses['loss_cls'] + losses['loss_hint']).backward()
        for name, weight in dcn.named_parameters():  # none is missing: DDP waits for all
            assert (weight.grad != 0).any() != name.startswith('fine.'), name
        for name, value in dcn.fine.state_dict().items():
            assert 'num_batches' in name or torch.equal(value, before[name]), name

    def test_its_predictions_have_no_boxes_and_no_hits(self):
        samples = build_dcn(selector=NONE).eval().predict(digits(2))
        for sample in samples:
            assert sample.cells.shape == (0,) and sample.patch_bboxes.shape == (0, 4)
        boxes = [sample.patch_bboxes for sample in samples]
        assert patch_hit(boxes, [torch.rand(1, 4)] * 2).isnan().all()


def test_the_hit_of_an_image_is_the_share_of_its_own_patches():
    inside, outside = [0, 0, 4, 4], [50, 50, 60, 60]
    boxes = [
        torch.tensor(image).view(-1, 4)
        for image in ([inside], [inside, outside, outside, outside], [], [outside])
    ]
    objects = [torch.tensor([[2.0, 2.0, 8.0, 8.0]])] * 4
    assert patch_hit(boxes, objects).nan_to_num(9).tolist() == [1, 0.25, 9, 0]


def test_the_hits_of_a_batch_are_logged_as_the_mean_of_the_images_with_patches():
    dcn, images = sharp_dcn(), digits(4)
    found = entropies(dcn, images)
    dcn.selector = EntropySelector(k=2, threshold=found.median().item())
    samples = [DataSample().set_gt_label(0) for _ in images]
    looked_at = (found > found.median()).nonzero().flatten().tolist()
    assert len(looked_at) == 2
    for index, sample in enumerate(samples):
        everywhere = [0.0, 0.0, 100.0, 100.0] if index != looked_at[0] else [0.0, 0.0, 0.0, 0.0]
        sample.set_field(torch.tensor([everywhere]), 'gt_bboxes')
    assert dcn.loss(images, samples)['patch_hit'] == 0.5


def test_a_fixed_k_is_not_packed_and_never_waits_for_a_value():
    dcn, images = build_dcn().eval(), digits(2)
    with FakeTensorMode(allow_non_fake_inputs=True):  # there are no values to wait for
        cells = dcn.extract_feat(images).cells
        assert cells.budgets is None and cells.group(cells.index).shape == (2, 8)
