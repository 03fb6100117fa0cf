import logging

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from torch import nn

from mmdcn.apis import get_model
from mmdcn.datasets import ClutteredMNIST
from mmdcn.models import CoarseLoss, DCNClassifier, HintLoss, PatchGrid
from mmdcn.models.classifiers.dcn import scale_gradient
from mmdcn.registry import MODELS
from mmdcn.structures import Cells, Glance, Measured, PixelView, shrink

from .dcns import build_dcn, labelled

CELLS = 23 * 23


@pytest.fixture
def images():
    return torch.rand(4, 1, 100, 100)


def coarse_model_of(dcn):
    """The paper's coarse model, from the DCN's own weights."""
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='ClutteredMNISTCoarse'),
            head=dict(type='GlobalMaxPoolHead', num_classes=10, in_channels=24),
        )
    )
    model.backbone.load_state_dict(dcn.coarse.state_dict())
    model.head.load_state_dict(dcn.head.state_dict())
    return model.eval()


@pytest.mark.parametrize('training', [False, True])
def test_no_patches_leave_exactly_the_coarse_models_logits(images, training):
    dcn = build_dcn(selector=dict(k=0))
    coarse_model = coarse_model_of(dcn).train(training)
    assert torch.equal(dcn.train(training)(images), coarse_model(images))
    for name, value in dcn.state_dict().items():
        assert value.isfinite().all(), name


def test_all_cells_give_a_map_of_fine_vectors_only(images):
    dcn, images = build_dcn(selector=dict(k=CELLS)).eval(), images[:2]
    with torch.no_grad():
        seen = dcn.extract_feat(images)
        windows = PatchGrid(size=14, stride=4, offset=-1).all((23, 23))
        for image, refined in zip(images, seen.refined, strict=True):
            fine = dcn.fine(PixelView(image[None]).cut(windows))[-1]
            torch.testing.assert_close(refined, fine.view(23, 23, 24).permute(2, 0, 1))


def test_the_refined_map_differs_at_the_chosen_cells_and_nowhere_else(images):
    dcn = build_dcn().eval()
    with torch.no_grad():
        seen = dcn.extract_feat(images)
    changed = (seen.refined != seen.coarse).any(dim=1).flatten(1)
    for image, cells in zip(changed, seen.cells.split(seen.cells.index), strict=True):
        assert image.nonzero().flatten().tolist() == sorted(cells.tolist())


def test_fine_vectors_come_from_the_patches_of_their_own_cells(images):
    dcn = build_dcn().eval()
    with torch.no_grad():
        seen = dcn.extract_feat(images)
        bordered = torch.nn.functional.pad(images, (1, 2, 1, 2))
        for image, rank in ((0, 0), (1, 7), (3, 3)):
            i, j = divmod(seen.cells.index[8 * image + rank].item(), 23)
            patch = bordered[image : image + 1, :, 4 * i : 4 * i + 14, 4 * j : 4 * j + 14]
            torch.testing.assert_close(seen.fine[8 * image + rank], dcn.fine(patch)[-1].flatten())


def gradients(dcn, images, term):
    """Of one term of the loss, by part; in evaluation mode the forward pass is the same."""
    dcn.zero_grad()
    losses = dcn.loss(images, labelled(len(images)))
    losses[term].backward()
    return {
        name: [
            torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for p in getattr(dcn, name).parameters()
        ]
        for name in ('coarse', 'fine', 'head')
    }


def test_the_hint_moves_the_coarse_tower_only(images):
    grads = gradients(build_dcn(hint=dict(loss_weight=0.3)), images, 'loss_hint')
    assert all(g.abs().max() > 0 for g in grads['coarse'])
    assert all((g == 0).all() for g in grads['fine'] + grads['head'])


def test_the_cross_entropy_reaches_the_coarse_tower_scaled_by_one_minus_lambda(images):
    plain, hinted = build_dcn(), build_dcn(hint=dict(loss_weight=0.3))
    hinted.load_state_dict(plain.state_dict())
    expected = gradients(plain.eval(), images, 'loss_cls')
    found = gradients(hinted.eval(), images, 'loss_cls')
    for part, factor in (('coarse', 0.7), ('fine', 1.0), ('head', 1.0)):
        for one, other in zip(found[part], expected[part], strict=True):
            torch.testing.assert_close(one, factor * other)
        assert max(g.abs().max() for g in found[part]) > 0


def test_the_hint_weighs_lambda_times_the_mean_squared_distance(images):
    dcn = build_dcn(hint=dict(loss_weight=0.3)).eval()
    with torch.no_grad():
        losses = dcn.loss(images, labelled(4))
        seen = dcn.extract_feat(images)
    distances = []
    for image, cell, fine in zip(seen.cells.image, seen.cells.index, seen.fine, strict=True):
        coarse = seen.coarse[image, :, cell // 23, cell % 23]
        distances.append(((coarse - fine) ** 2).sum())
    expected = sum(distances) / len(distances)
    torch.testing.assert_close(losses['hint_distance'], expected)
    torch.testing.assert_close(losses['loss_hint'], 0.3 * expected)


def test_the_hint_distance_is_logged_when_it_weighs_nothing(images):
    losses = build_dcn().loss(images, labelled(4))
    assert losses['loss_hint'] == 0 and losses['hint_distance'] > 0


def test_the_log_says_how_many_patches_hit_the_object(images):
    samples = labelled(4)
    for sample, box in zip(samples, ((0, 0, 100, 100), (200, 0, 228, 28)) * 2, strict=True):
        sample.set_field(torch.tensor([box], dtype=torch.float32), 'gt_bboxes')
    dcn = build_dcn()
    assert dcn.loss(images, samples)['patch_hit'] == 0.5
    assert 'patch_hit' not in dcn.loss(images, labelled(4))


def test_a_scaled_gradient_leaves_the_value_alone():
    value = torch.rand(3, requires_grad=True)
    scaled = scale_gradient(value, 0.25)
    assert torch.equal(scaled, value)
    scaled.square().sum().backward()
    torch.testing.assert_close(value.grad, 0.25 * 2 * value)


def test_predictions_say_where_the_network_looked(images):
    dcn = build_dcn().eval()
    with torch.no_grad():
        samples = dcn.predict(images, labelled(4))
        seen, logits = dcn.extract_feat(images), dcn(images)
    for index, sample in enumerate(samples):
        assert sample.gt_label.item() == index
        assert sample.pred_label.item() == logits[index].argmax()
        torch.testing.assert_close(sample.pred_score, logits[index].softmax(0))
        assert torch.equal(sample.cells, seen.cells.group(seen.cells.index)[index])
        assert torch.equal(sample.saliency, seen.saliency[index])
        for cell, box in zip(sample.cells.tolist(), sample.patch_bboxes.tolist(), strict=True):
            i, j = divmod(cell, 23)
            assert box == [4 * j - 1, 4 * i - 1, 4 * j + 13, 4 * i + 13]
        flat = sample.saliency.flatten()
        assert flat[sample.cells].min() >= flat[flat.argsort()[:-8]].max()


def test_predictions_need_no_data_samples(images):
    samples = build_dcn().eval().predict(images)
    assert len(samples) == 4 and samples[0].saliency.shape == (23, 23)


def test_an_image_is_predicted_alike_alone_and_in_a_batch(images):
    dcn = build_dcn().eval()
    with torch.no_grad():
        together, alone = dcn.extract_feat(images), dcn.extract_feat(images[1:2])
    assert torch.equal(together.cells.index[8:16], alone.cells.index)
    torch.testing.assert_close(together.refined[1:2], alone.refined)


def test_inputs_of_other_sizes_are_welcome():
    dcn = build_dcn().eval()
    with torch.no_grad():
        assert dcn(torch.rand(2, 1, 64, 131)).shape == (2, 10)


@pytest.mark.parametrize(
    'selector', [dict(type='TopKSelector', k=8), dict(type='MassSelector', k=8, share=0.05)]
)
def test_a_trained_dcn_hardly_errs_more_in_bfloat16(mnist_root, selector):
    dataset = ClutteredMNIST(data_root=mnist_root, split='val', indices=32)
    images = (
        torch.stack(
            [
                torch.from_numpy(dataset[index]['img'].copy()).reshape(1, 100, 100)
                for index in range(len(dataset))
            ]
        )
        / 255
    )
    dcn = get_model('dcn-k8-hint', True, selector=dict(selector, _delete_=True))
    with torch.no_grad():
        expected = dcn(images)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            seen, logits = dcn.extract_feat(images), dcn(images)
    assert seen.coarse.dtype == torch.bfloat16 and seen.saliency.dtype == torch.float32
    between_images = (expected - expected.roll(1, 0)).abs().mean()
    assert 0 < (logits - expected).abs().mean() < 0.02 * between_images


class PlainTower(nn.Module):
    """A tower as someone writes it who knows nothing of MM: a tensor comes out."""

    def __init__(self, tower):
        super().__init__()
        self.tower = tower

    def forward(self, images):
        return self.tower(images)[-1]


def test_parts_can_be_modules_and_towers_can_give_tensors(images):
    built = build_dcn().eval()
    assembled = DCNClassifier(
        coarse=PlainTower(built.coarse),
        fine=PlainTower(built.fine),
        head=built.head,
        selector=built.selector,
        grid=built.grid,
    ).eval()
    with torch.no_grad():
        assert torch.equal(assembled(images), built(images))


def test_a_patch_that_leaves_a_map_is_averaged(images):
    dcn = build_dcn(grid=dict(size=18)).eval()
    patches = torch.rand(5, 1, 18, 18)
    with torch.no_grad():
        assert dcn(images).shape == (len(images), 10)
        assert dcn.fine(patches)[-1].shape == (5, 24, 2, 2)
        torch.testing.assert_close(
            dcn.describe(patches, dcn.coarse(images)), dcn.fine(patches)[-1].mean((2, 3))
        )


def test_a_patch_that_leaves_a_map_where_one_vector_is_needed_is_named(images):
    dcn = build_dcn()
    dcn.grid = PatchGrid(size=18, stride=4)
    with pytest.raises(
        ValueError,
        match='SwapRefine needs one fine vector a patch, but the fine '
        'tower leaves a 2×2 map of each: give the DCNClassifier a '
        'fine_neck such as GlobalAveragePooling',
    ):
        dcn(images)


def test_a_patch_too_small_for_the_fine_tower_is_named():
    with pytest.raises(
        ValueError,
        match='ClutteredMNISTFine needs an input of at least 14×14 '
        r'pixels, got 12×12: enlarge the image \(or the patch\)',
    ):
        build_dcn(grid=dict(size=12))


def test_patches_without_a_stride_are_centred_on_what_the_coarse_tower_sees(images):
    given = build_dcn().grid
    cfg = dict(type='PatchGrid', size=14)
    found = DCNClassifier(
        coarse=dict(type='ClutteredMNISTCoarse'),
        fine=dict(type='ClutteredMNISTFine'),
        head=dict(type='GlobalMaxPoolHead', num_classes=10, in_channels=24),
        selector=dict(type='TopKSelector', k=8),
        grid=cfg,
    ).grid
    assert (found.stride, found.offset) == (given.stride, given.offset) == ((4, 4), (-1, -1))
    with pytest.raises(ValueError, match='an offset but no stride: give both, or neither'):
        DCNClassifier(
            coarse=dict(type='ClutteredMNISTCoarse'),
            fine=dict(type='ClutteredMNISTFine'),
            head=dict(type='GlobalMaxPoolHead', num_classes=10, in_channels=24),
            selector=dict(type='TopKSelector', k=8),
            grid=dict(offset=1, **cfg),
        )


def test_the_coarse_tower_sees_a_small_image_and_patches_come_from_the_large_one(images):
    large = F.interpolate(images, scale_factor=4, mode='nearest')  # of which a quarter is images
    dcn = build_dcn(coarse_scale=0.25, grid=dict(stride=16, offset=15)).eval()
    with torch.no_grad():
        seen = dcn.extract_feat(large)
        small = shrink(large, 0.25)
        torch.testing.assert_close(seen.coarse, dcn.coarse(small)[-1])
        assert small.shape == images.shape
        for image, cell, vector in zip(
            seen.cells.image, seen.cells.index.tolist(), seen.fine, strict=True
        ):
            i, j = divmod(cell, 23)
            patch = large[image][None, :, 16 * i + 15 : 16 * i + 29, 16 * j + 15 : 16 * j + 29]
            torch.testing.assert_close(vector, dcn.fine(patch)[-1].flatten())


@pytest.mark.parametrize('scale', [0, -1, 1.5])
def test_a_scale_beyond_the_image_is_named(scale):
    with pytest.raises(ValueError, match=r'coarse_scale=...\) is the share .* within \(0, 1\]'):
        build_dcn(coarse_scale=scale)


def test_batch_augmentations_are_those_of_an_image_classifier():
    cfg = dict(augments=[dict(type='Mixup', alpha=0.8)])
    dcn = build_dcn(train_cfg=cfg, data_preprocessor=dict(num_classes=10))
    batch = dict(inputs=torch.rand(4, 1, 100, 100), data_samples=labelled(4))
    mixed = dcn.data_preprocessor(batch, training=True)
    assert ((0 < mixed['data_samples'][0].gt_score) & (mixed['data_samples'][0].gt_score < 1)).any()
    losses = dcn(**mixed, mode='loss')
    dcn.parse_losses(losses)[0].backward()
    assert torch.isfinite(losses['loss_cls'])


def test_patches_without_a_size_are_named():
    with pytest.raises(ValueError, match='grid has no size: give'):
        MODELS.build(
            dict(
                type='DCNClassifier',
                coarse=dict(type='ClutteredMNISTCoarse'),
                fine=dict(type='ClutteredMNISTFine'),
                selector=dict(type='TopKSelector', k=8),
                head=dict(type='GlobalMaxPoolHead', num_classes=10, in_channels=24),
                grid=dict(type='PatchGrid'),
            )
        )


@pytest.mark.parametrize('mode', ['tensor', 'loss', 'predict'])
def test_images_of_other_channels_are_named(mode):
    with pytest.raises(ValueError, match=r'takes images of 1 channel\(s\), got 3: change how'):
        build_dcn()(torch.rand(2, 3, 100, 100), labelled(2), mode=mode)


def test_towers_for_images_of_different_channels_are_named():
    with pytest.raises(ValueError, match=r'coarse tower takes 1 channel\(s\) and the fine one 3: '):
        build_dcn(fine=dict(in_channels=3))


def test_towers_of_different_channels_are_named(images):
    dcn = build_dcn()
    dcn.fine.layers.append(nn.Conv2d(24, 16, 1))
    with pytest.raises(
        ValueError,
        match='SwapRefine needs towers of equal channels, but the '
        'coarse tower gives 24 and the fine tower 16: change',
    ):
        dcn(images)


def test_a_head_of_other_channels_is_named(images):
    dcn = build_dcn(head=dict(in_channels=32))
    with pytest.raises(
        ValueError,
        match=r'GlobalMaxPoolHead\(in_channels=32\) got a feature map '
        'of 24 channels: set in_channels',
    ):
        dcn(images)


def test_an_image_smaller_than_the_first_convolutions_is_named():
    with pytest.raises(
        ValueError, match='ClutteredMNISTCoarse needs an input of at least 11×11 pixels, got 6×100'
    ):
        build_dcn()(torch.rand(1, 1, 6, 100))


def test_a_map_too_small_for_the_head_is_named():
    with pytest.raises(
        ValueError,
        match='GlobalMaxPoolHead needs a feature map of at least 4×4 '
        'cells, got 2×23: enlarge the image',
    ):
        build_dcn()(torch.rand(1, 1, 16, 100))


def test_labels_out_of_range_are_named(images):
    with pytest.raises(
        ValueError,
        match=r'GlobalMaxPoolHead\(num_classes=3\) got the label 3, '
        r'which is not within 0..2: set num_classes',
    ):
        build_dcn(head=dict(num_classes=3)).loss(images, labelled(4))


def test_an_unknown_mode_is_named(images):
    with pytest.raises(ValueError, match="'tensor', 'loss' and 'predict', not 'train'"):
        build_dcn()(images, mode='train')


def test_vectors_of_unlike_channels_can_be_compared_by_no_hint():
    cells = Cells.fixed(torch.tensor([[2]]), (2, 2))
    seen = Glance(torch.rand(1, 3, 2, 2), None, None, cells, None, torch.rand(1, 4), None)
    assert HintLoss()(seen, None, []) == dict(loss_hint=0, hint_distance=0)
    with pytest.raises(ValueError, match='the coarse tower gives 3 and the fine one 4: change'):
        HintLoss(loss_weight=0.1)(seen, None, [])


@pytest.mark.parametrize('weight', [-0.1, 1.5])
def test_lambda_must_be_a_share(weight):
    with pytest.raises(
        ValueError,
        match=r'HintLoss\(loss_weight=...\) is the λ of a convex '
        r'combination and must be within \[0, 1\], got',
    ):
        build_dcn(hint=dict(loss_weight=weight))


class Pull(nn.Module):
    """A loss of one's own: draws all cells of the coarse map together."""

    def __init__(self, share=0.0):
        super().__init__()
        self.share = share

    def forward(self, seen, head, data_samples):
        distance = seen.coarse.var(dim=(2, 3)).mean()
        return dict(loss_pull=0.5 * distance, number=torch.tensor(float(len(data_samples))))


class TestLosses:
    def test_one_of_your_own_is_added_and_trained_and_its_figures_are_logged(self, images):
        dcn = build_dcn(losses=dict(pull=Pull())).eval()
        losses = dcn.loss(images, labelled(4))
        assert list(losses) == ['loss_cls', 'loss_hint', 'hint_distance', 'loss_pull', 'number']
        total, logged = dcn.parse_losses(losses)
        torch.testing.assert_close(
            total, losses['loss_cls'] + losses['loss_hint'] + losses['loss_pull']
        )
        assert logged['number'] == 4 and dcn.head_share == 1
        alone = gradients(dcn, images, 'loss_pull')
        assert all(g.abs().max() > 0 for g in alone['coarse'])
        assert all((g == 0).all() for g in alone['fine'] + alone['head'])

    def test_the_coarse_loss_is_the_heads_loss_of_the_coarse_map_and_trains_both(self, images):
        samples = labelled(4)
        dcn = build_dcn(losses=dict(coarse=CoarseLoss(loss_weight=0.3))).train()
        found = dcn.loss(images, samples)['loss_coarse']
        found.backward()
        for name, weight in dcn.named_parameters():
            trained = weight.grad is not None and weight.grad.any()
            assert trained == name.startswith(('coarse', 'head')), name
        dcn.head.eval()  # with the running statistics of the refined map
        with torch.no_grad():
            logits = dcn.head(dcn.coarse(images))
        torch.testing.assert_close(found, 0.3 * F.cross_entropy(logits, torch.arange(4)))

    def test_a_coarse_loss_that_weighs_nothing_is_refused(self):
        with pytest.raises(
            ValueError, match=r'CoarseLoss\(loss_weight=...\) must be above 0, got 0'
        ):
            CoarseLoss(loss_weight=0)

    def test_without_any_there_is_the_heads_alone(self, images):
        dcn = build_dcn(losses=dict(hint=None, patch_hit=None))
        assert list(dcn.loss(images, labelled(4))) == ['loss_cls']
        assert dcn.head_share == 1

    def test_by_default_figures_are_logged_and_nothing_is_taken_of_the_heads_loss(self, images):
        built = build_dcn()
        dcn = DCNClassifier(
            coarse=built.coarse,
            fine=built.fine,
            head=built.head,
            selector=built.selector,
            grid=built.grid,
        )
        losses = dcn.loss(images, labelled(4))
        assert losses['hint_distance'] > 0 and losses['loss_hint'] == 0 and dcn.head_share == 1

    def test_shares_add_up(self, images):
        dcn = build_dcn(hint=dict(loss_weight=0.3), losses=dict(pull=Pull(share=0.5))).eval()
        plain = build_dcn().eval()
        plain.load_state_dict(dcn.state_dict())
        assert dcn.head_share == pytest.approx(0.2)
        found, expected = (gradients(each, images, 'loss_cls') for each in (dcn, plain))
        for one, other in zip(found['coarse'], expected['coarse'], strict=True):
            torch.testing.assert_close(one, 0.2 * other)

    def test_shares_above_1_are_refused(self):
        with pytest.raises(
            ValueError,
            match=r'The losses hint, patch_hit, pull take over 1.1\d* of the gradient of the '
            'coarse tower, which is more than all of it: lower their loss_weight',
        ):
            build_dcn(hint=dict(loss_weight=0.6), losses=dict(pull=Pull(share=0.5)))


class ShortOfWords(nn.Module):
    """A part whose author has not read what it owes."""

    def forward(self, *inputs):
        return inputs[0]


@pytest.mark.parametrize(
    'parts, sentence',
    [
        (
            dict(saliency=ShortOfWords()),
            'ShortOfWords cannot be the saliency of a DCN, because it lacks check, draws, '
            'gives_entropy, needs_truth: see Saliency in mmdcn.models.contracts',
        ),
        (
            dict(selector=ShortOfWords()),
            'the selector of a DCN, because it lacks adaptive, k, needs_entropy, with_budget: see',
        ),
        (dict(grid=ShortOfWords()), 'the grid of a DCN, because it lacks offset, size, stride:'),
        (
            dict(neck=ShortOfWords()),
            'the neck of a DCN, because it lacks takes_budgets, takes_vectors: see Neck',
        ),
        (
            dict(losses=dict(short=ShortOfWords())),
            'the loss of a DCN, because it lacks share: see Loss',
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else '',
)
def test_a_part_that_lacks_what_it_owes_is_refused_at_once(parts, sentence):
    with pytest.raises(ValueError, match=sentence):
        build_dcn(**parts)


class FromTheCorner(nn.Module):
    """A saliency without a base class that keeps its contract."""

    needs_truth = draws = gives_entropy = False

    def check(self, head):
        pass

    def forward(self, coarse, head, data_samples=None):
        order = torch.arange(coarse[0, 0].numel(), 0, -1, dtype=torch.float32)
        return Measured(order.view(coarse.shape[2:]).expand(len(coarse), -1, -1))


def test_a_part_needs_no_base_class(images):
    dcn = build_dcn(saliency=FromTheCorner())
    assert all(sample.cells.tolist() == list(range(8)) for sample in dcn.eval().predict(images))


def test_two_losses_that_give_a_term_of_one_name_are_refused(images):
    dcn = build_dcn(losses=dict(again=dict(type='HintLoss')))
    with pytest.raises(ValueError, match="loss 'again' of this DCN gives hint_distance, loss_hint"):
        dcn.loss(images, labelled(4))


@pytest.mark.parametrize('wrong', ['a plain tensor', 'a map a channel'])
def test_a_saliency_of_another_shape_is_named(images, wrong, monkeypatch):
    dcn, plain, by_channel = build_dcn(), torch.rand(4, 23, 23), torch.rand(4, 24, 23, 23)
    given = plain if wrong == 'a plain tensor' else Measured(by_channel)
    monkeypatch.setattr(dcn.saliency, 'forward', lambda *_: given)
    with pytest.raises(ValueError, match=r'EntropyGradient must give Measured\(saliency, entropy'):
        dcn(images)


def test_a_saliency_that_tells_no_cells_apart_is_said_once_in_training(images, caplog):
    class Level(nn.Module):
        needs_truth = draws = gives_entropy = False

        def check(self, head):
            pass

        def forward(self, coarse, head, data_samples):
            return Measured(torch.ones_like(coarse[:, 0]))

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        build_dcn().loss(images, labelled(4))
        assert not caplog.text
        dcn = build_dcn(saliency=Level())
        for _ in range(2):
            dcn.loss(images, labelled(4))
    logger.removeHandler(caplog.handler)
    assert caplog.text.count('Level gives all cells of an image the same saliency') == 1


def test_images_that_would_be_padded_are_refused():
    def batch(*sizes):
        return dict(
            inputs=[torch.rand(1, *size) for size in sizes], data_samples=labelled(len(sizes))
        )

    dcn = build_dcn(data_preprocessor=dict(type='mmengine.ImgDataPreprocessor')).eval()
    unlike = batch((60, 70), (60, 60), (60, 70))
    for step in (dcn.test_step, dcn.val_step, dcn.data_preprocessor):
        with pytest.raises(
            ValueError, match='images of 60×70 and 60×60 pixels would be padded, .* batch_size=1'
        ):
            step(unlike)
    for size in ((60, 60), (60, 70)):
        assert len(dcn.test_step(batch(size, size))) == 2
    dcn = build_dcn(data_preprocessor=dict(pad_size_divisor=32)).eval()
    for odd in (
        batch((64, 70)),
        batch((64, 64), (64, 70)),
        dict(inputs=torch.rand(1, 1, 64, 70), data_samples=labelled(1)),
    ):
        with pytest.raises(
            ValueError, match='pad_size_divisor=32 would pad images of 64×70 pixels'
        ):
            dcn.data_preprocessor(odd)
    assert len(dcn.test_step(batch((64, 96)))) == 1
