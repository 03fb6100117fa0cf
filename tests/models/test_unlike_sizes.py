"""Images of unlike sizes in one batch are looked at as if each were alone."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmpretrain.models import ConvNeXt, EfficientNet, MobileNetV2, RegNet, ResNet, SEResNet
from mmpretrain.structures import DataSample
from torch.utils.checkpoint import checkpoint

from mmdcn.models import by_size
from mmdcn.registry import MODELS
from mmdcn.structures import Ragged, stack

from .dcns import build_dcn, build_svhn_dcn, labelled

SIZES = [(100, 100), (90, 130), (100, 100), (100, 100), (61, 52)]
NUMBERS = [(54, 110), (54, 110), (70, 142), (101, 187)]
CLOSE = dict(rtol=1e-5, atol=1e-5)
LINEAR = dict(
    type='MapHead',
    in_channels=24,
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=24),
)
SUM = dict(type='GlobalSumPoolHead', mid_channels=16)


def images_of(sizes, channels=1):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(channels, *size, generator=generator) for size in sizes]


def boxed(number):
    samples = labelled(number)
    for index, sample in enumerate(samples):
        sample.set_field(torch.tensor([[index, 9.0 * index, 40 + index, 49.0]]), 'gt_bboxes')
    return samples


def one_by_one(images, samples):
    return [(image[None], [sample.clone()]) for image, sample in zip(images, samples, strict=True)]


def assert_each_is_as_alone(dcn, images, samples):
    """Predictions and losses of a batch, beside those of its images one by one."""
    dcn.eval()
    with torch.no_grad():
        torch.manual_seed(0)
        alone = [dcn.predict(*each)[0] for each in one_by_one(images, samples)]
        torch.manual_seed(0)
        terms = [dcn.loss(*each) for each in one_by_one(images, samples)]
        torch.manual_seed(0)
        found = dcn.predict(stack(images), [sample.clone() for sample in samples])
        torch.manual_seed(0)
        losses = dcn.loss(stack(images), samples)
        torch.manual_seed(0)
        logits = dcn(stack(images), samples)
    assert len(logits) == len(images)
    for mine, expected in zip(found, alone, strict=True):
        assert mine.keys() == expected.keys()
        for name in expected.keys():
            torch.testing.assert_close(mine.get(name), expected.get(name), **CLOSE)
    for name, value in losses.items():
        # The hint is a mean over cells, all others are means over images.
        shares = torch.tensor([float(len(one.cells)) if 'hint' in name else 1.0 for one in alone])
        values = torch.stack([torch.as_tensor(of_one[name]) for of_one in terms])
        mean = (values * shares).sum() / shares.sum().clamp(min=1)
        torch.testing.assert_close(value, mean, **CLOSE)


@pytest.mark.parametrize(
    'parts',
    [
        {},
        dict(saliency=dict(type='ClassActivation')),
        dict(saliency=dict(type='ActivationNorm')),
        dict(saliency=dict(type='OracleCells')),
        dict(saliency=dict(type='RandomCells')),
        dict(head=SUM),
        dict(head=LINEAR, saliency=dict(type='ClassActivation')),
        dict(selector=dict(k=200)),  # more than the cells of the smallest image
        dict(selector=dict(k=0)),
        dict(selector=dict(type='MassSelector', k=9, share=0.05)),
        dict(neck=dict(type='FineOnlyRefine'), head=LINEAR, saliency=dict(type='ActivationNorm')),
        dict(losses=dict(coarse=dict(type='CoarseLoss', loss_weight=0.3))),
        dict(coarse_scale=0.5, data_preprocessor=dict(type='LateNormalization')),
    ],
    ids=str,
)
def test_predictions_and_losses_are_those_of_each_image_alone(parts):
    torch.manual_seed(1)
    if parts.get('head') is LINEAR:
        parts = dict(parts, head=MODELS.build(LINEAR))
    dcn = build_dcn(**parts)
    sizes = SIZES[1::3] + SIZES[:1] if parts.get('saliency') == dict(type='RandomCells') else SIZES
    assert_each_is_as_alone(dcn, images_of(sizes), boxed(len(sizes)))


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(saliency=dict(type='InverseEntropy', head=dict(type='SequenceHead', in_channels=32))),
        dict(saliency=dict(type='ClassActivation', head=dict(type='SequenceHead', in_channels=32))),
    ],
    ids=['entropy', 'certainty', 'evidence'],
)
def test_numbers_are_those_of_each_image_alone(options):
    torch.manual_seed(0)
    dcn = build_svhn_dcn(k=2, **options)
    samples = boxed(len(NUMBERS))
    for sample in samples:
        sample.set_field(torch.tensor([1, 4, 2, 10, 10, 10]), 'gt_sequence')
    assert_each_is_as_alone(dcn, images_of(NUMBERS), samples)


def test_images_go_through_the_preprocessor_without_padding():
    images = [(255 * image).to(torch.uint8) for image in images_of(SIZES, channels=3)]
    colours = dict(mean=[10.0, 20.0, 30.0], std=[40.0, 50.0, 60.0], to_rgb=True)
    for kind in ('ClsDataPreprocessor', 'LateNormalization'):
        dcn = build_dcn(
            coarse=dict(in_channels=3),
            fine=dict(in_channels=3),
            data_preprocessor=dict(type=kind, **colours),
        ).eval()
        batch = dict(inputs=images, data_samples=labelled(len(images)))
        found = dcn.test_step(batch)
        for image, mine in zip(images, found, strict=True):
            (alone,) = dcn.test_step(dict(inputs=[image], data_samples=labelled(1)))
            assert torch.equal(mine.cells, alone.cells)
            torch.testing.assert_close(mine.pred_score, alone.pred_score, **CLOSE)


def test_a_batch_of_unlike_sizes_trains_both_towers_and_the_head():
    dcn = build_dcn(hint=dict(loss_weight=0.1), selector=dict(k=3)).train()
    optimizer = OptimWrapper(torch.optim.SGD(dcn.parameters(), lr=0.1))
    before = {name: weight.clone() for name, weight in dcn.state_dict().items()}
    batch = dict(inputs=images_of(SIZES), data_samples=labelled(len(SIZES)))
    log = dcn.train_step(batch, optimizer)
    assert log['loss'] > 0
    unmoved = [name for name, weight in dcn.state_dict().items() if weight.equal(before[name])]
    assert not unmoved


def test_batch_norms_train_on_all_sizes_together():
    """A tower that sees pixels alone trains as it does on all pixels in one row."""
    torn = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 1),
        torch.nn.BatchNorm2d(6),
        torch.nn.ReLU(inplace=True),
        torch.nn.Conv2d(6, 4, 1),
        torch.nn.BatchNorm2d(4),
    ).train()
    whole = copy.deepcopy(torn)
    images = images_of([(5, 7), (5, 7), (4, 9)], channels=3)
    row = torch.cat([image.flatten(1) for image in images], dim=1)  # (3, all pixels)
    expected = whole(row[None, :, :, None])[0, :, :, 0]
    found = by_size.run(torn, stack(images))
    assert isinstance(found, Ragged)
    found = torch.cat([feats.flatten(1) for feats in found], dim=1)
    torch.testing.assert_close(found, expected, **CLOSE)
    target = torch.rand_like(expected)
    for feats in (found, expected):
        (feats * target).sum().backward()
    for mine, theirs in zip(torn.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4)
    for mine, theirs in zip(torn.buffers(), whole.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_head_of_a_batch_of_unlike_sizes_shares_its_statistics():
    head = MODELS.build(dict(type='GlobalSumPoolHead', num_classes=10, in_channels=4)).train()
    maps = images_of([(9, 9), (9, 9), (7, 8)], channels=4)
    by_size.loss(head, Ragged([(torch.stack(maps[:2]),), (maps[2][None],)], (2, 1)), labelled(3))
    row = torch.cat([image.flatten(1) for image in maps], dim=1)
    values = head.conv.conv(row[None, :, :, None])
    expected = 0.1 * values.mean(dim=(0, 2, 3))
    torch.testing.assert_close(head.conv.bn.running_mean, expected)


@pytest.mark.parametrize(
    'compute',
    [
        lambda x: x * torch.full((3, 1, 1, 1), 2.0),
        lambda x: torch.full((3, 1, 1, 1), 2.0) * x,
        lambda x: torch.mul(x, x.mean((2, 3), keepdim=True)),
        lambda x: x.mul(torch.arange(3.0).view(3, 1, 1)),  # as many channels as images
        lambda x: torch.cat([x, x.relu()], dim=1),
        lambda x: (1 - x) / 3 - x + 1,
        lambda x: -x,
        lambda x: x == 0.5,
    ],
)
def test_operators_do_to_each_image_what_they_do_to_it_alone(compute):
    images = images_of([(5, 7), (5, 7), (4, 9)], channels=3)
    factor = torch.full((3, 1, 1, 1), 2.0)
    found = compute(stack(images))
    for mine, image in zip(found, images, strict=True):
        torch.testing.assert_close(mine, apply_alone(compute, image, factor))


def apply_alone(compute, image, factor):
    """Compute of one image; a factor for each of three images is one for it."""
    full = torch.full
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, 'full', lambda shape, value: full((1, *shape[1:]), value))
        return compute(image[None])[0]


@pytest.mark.parametrize(
    'compute',
    [
        lambda x: x.mean(),
        lambda x: x.mean(dim=(0, 2, 3)),
        lambda x: x.square().sum(),
        lambda x: x.shape,
        lambda x: torch.cat([x, x], dim=0),
    ],
)
def test_what_joins_images_says_that_they_differ_in_size(compute):
    with pytest.raises(ValueError, match='cannot be computed of images that differ in size'):
        compute(stack(images_of([(5, 7), (5, 7), (4, 9)], channels=3)))


@pytest.mark.parametrize(
    'tower, trains',
    [
        (lambda: SEResNet(50), True),
        (lambda: MobileNetV2(), True),
        (lambda: RegNet('regnetx_400mf'), True),
        (lambda: ConvNeXt('atto', gap_before_final_norm=False), True),
        (lambda: EfficientNet('b0'), False),
    ],
)
def test_towers_of_others_train_on_unlike_sizes_or_say_that_they_cannot(tower, trains):
    tower = tower()
    images = stack(images_of([(64, 96), (64, 96), (70, 52)], channels=3))
    with torch.no_grad():
        tower.eval()
        assert isinstance(by_size.run(tower, images), Ragged)
        tower.train()
        if trains:
            assert len(by_size.run(tower, images)) == 3
        else:
            with pytest.raises(ValueError, match='EfficientNet cannot train its batch norms on'):
                by_size.run(tower, images)


def test_what_cannot_be_done_with_unlike_sizes_is_refused():
    dcn = build_dcn(train_cfg=dict(augments=dict(type='Mixup', alpha=0.8))).train()
    batch = dict(inputs=images_of(SIZES), data_samples=labelled(len(SIZES)))
    with pytest.raises(ValueError, match='Batch augmentations mix images of one size'):
        dcn.data_preprocessor(batch, True)
    with pytest.raises(ValueError, match=r'takes images of 1 channel\(s\), got 3'):
        build_dcn().predict(stack([torch.rand(1, 50, 50), torch.rand(3, 60, 60)]))


def test_a_tower_that_loses_its_gradient_on_the_way_is_refused():
    class Checkpointed(torch.nn.Sequential):
        def forward(self, images):
            return checkpoint(super().forward, images, use_reentrant=True)

    tower = Checkpointed(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).train()
    with pytest.raises(ValueError, match='Checkpointed cannot train its batch norms'):
        by_size.run(tower, stack(images_of([(64, 96), (70, 52)], channels=3)))


def test_a_tower_that_computes_twice_is_refused_for_it_would_get_no_gradient():
    tower = ResNet(18, stem_channels=8, base_channels=8, with_cp=True)
    tower.train()
    with pytest.raises(ValueError, match=r'ResNet\(with_cp=True\) computes parts'):
        by_size.run(tower, stack(images_of([(64, 96), (70, 52)], channels=3)))


def test_neighbours_of_one_size_share_a_part():
    images = images_of(SIZES)
    batch = stack(images)
    assert batch.counts == (1, 1, 2, 1) and len(batch) == 5
    for mine, image in zip(batch, images, strict=True):
        assert torch.equal(mine, image)
    assert isinstance(stack(images[2:4]), torch.Tensor)


def test_samples_of_unlike_sizes_keep_their_order():
    samples = [DataSample(metainfo=dict(number=number)) for number in range(5)]
    parts = by_size.samples_of_parts(stack(images_of(SIZES)), samples)
    assert [[sample.number for sample in part] for part in parts] == [[0], [1], [2, 3], [4]]
