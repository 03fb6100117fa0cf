"""Any two backbones of MMPretrain as towers."""

import pytest
import torch
from mmengine.registry import init_default_scope

from mmdcn.analysis import multiplications_by_part, peak_memory
from mmdcn.models import TopKSelector
from mmdcn.models.fitting import feature_shape
from mmdcn.registry import MODELS
from mmdcn.structures import shrink

from .dcns import labelled

MOBILE = dict(type='MobileNetV3', arch='small')
RESNET = dict(type='ResNet', depth=18, base_channels=16, stem_channels=16)
SMALL = dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=96)
PAIRS = {
    'mobile net and residual net': (MOBILE, RESNET),
    'residual net in both': (RESNET, RESNET),
    'shuffle net and transformer': (
        dict(type='ShuffleNetV2', widen_factor=0.5),
        dict(type='VisionTransformer', arch=SMALL, img_size=64, out_type='featmap'),
    ),
    'transformer and mobile net': (
        dict(type='VisionTransformer', arch=SMALL, img_size=64, out_type='featmap'),
        dict(type='MobileNetV2', widen_factor=0.25),
    ),
    'ConvNeXt and windowed transformer': (
        dict(type='ConvNeXt', arch='atto', gap_before_final_norm=False),
        dict(
            type='SwinTransformer',
            arch=dict(embed_dims=24, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]),
            pad_small_map=True,
        ),
    ),
    'EfficientNet and VGG': (dict(type='EfficientNet', arch='b0'), dict(type='VGG', depth=11)),
    'RegNet and pooling transformer': (
        dict(type='RegNet', arch='regnetx_400mf'),
        dict(type='PoolFormer', arch='s12'),
    ),
    'mobile transformer and dense net': (
        dict(type='MobileViT', arch='xx_small'),
        dict(type='DenseNet', arch='121'),
    ),
    'own coarse tower and residual net': (
        dict(type='ClutteredMNISTCoarse'),
        dict(type='ResNet_CIFAR', depth=18, in_channels=1, base_channels=8, stem_channels=8),
    ),
}


def dcn_of(coarse, fine, **options) -> dict:
    init_default_scope('mmdcn')
    tower = MODELS.build(coarse)
    channels = feature_shape(tower, (224, 224))[0]
    return dict(
        type='DCNClassifier',
        coarse=coarse,
        fine=fine,
        coarse_scale=0.5,
        selector=dict(type='TopKSelector', k=3),
        grid=dict(type='PatchGrid', size=64),
        head=dict(
            type='GlobalMaxPoolHead',
            num_classes=10,
            in_channels=channels,
            mid_channels=16,
            kernel_size=1,
            stride=1,
        ),
        losses=dict(hint=dict(type='HintLoss', loss_weight=0.1)),
        **options,
    )


@pytest.mark.parametrize('towers', PAIRS.values(), ids=PAIRS)
def test_a_pair_learns_predicts_and_is_counted(towers):
    dcn = MODELS.build(dcn_of(*towers))
    channels = 1 if towers[0]['type'] == 'ClutteredMNISTCoarse' else 3
    images, samples = torch.rand(2, channels, 128, 192), labelled(2)

    dcn.train()
    loss, logged = dcn.parse_losses(dcn.loss(images, samples))
    loss.backward()
    assert loss.isfinite() and logged['hint_distance'] > 0
    left_out = [
        name
        for name, weight in dcn.named_parameters()
        if weight.requires_grad and weight.grad is None
    ]
    assert left_out == []

    dcn.eval()
    with torch.no_grad():
        assert dcn(images).shape == (2, 10)
        for sample in dcn.predict(images):
            boxes = sample.patch_bboxes
            assert (boxes[:, 2:] - boxes[:, :2] == 64).all() and len(boxes) == 3
            # On the image: what the coarse tower sees is half as large.
            middles = (boxes[:, :2] + boxes[:, 2:]) / 2
            assert (middles >= -32).all() and (middles <= torch.tensor([192, 128]) + 32).all()
            assert sample.pred_score.sum().item() == pytest.approx(1, abs=1e-4)
    parts = multiplications_by_part(dcn, images[:1])
    assert parts['coarse'] > 0 and parts['fine'] > 0 and parts['head on refined'] > 0


@pytest.mark.parametrize(
    'fine', [RESNET, {**RESNET, 'base_channels': 8}], ids=['channels alike', 'channels unlike']
)
def test_towers_that_a_neck_joins_do_without_patches_too(fine):
    dcn = MODELS.build(dcn_of(RESNET, fine))
    assert dcn.fine_neck is not None
    dcn.selector = TopKSelector(k=0)
    images = torch.rand(2, 3, 192, 256)
    loss, _ = dcn.parse_losses(dcn.train().loss(images, labelled(2)))
    loss.backward()
    for name, weight in dcn.named_parameters():  # none is missing: DDP waits for all
        assert (weight.grad != 0).any() != name.startswith('fine'), name
    with torch.no_grad():
        coarse = dcn.eval().coarse(shrink(images, 0.5))
        assert torch.equal(dcn(images), dcn.head(coarse))


def test_a_huge_image_takes_the_memory_of_the_small_one_that_the_coarse_tower_sees():
    model = dcn_of(MOBILE, dict(type='ResNet', depth=18))
    model['coarse_scale'] = 0.25
    model['data_preprocessor'] = dict(
        type='LateNormalization', mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True
    )
    dcn = MODELS.build(model).eval()
    small, patches = torch.rand(1, 3, 1000, 1000), torch.rand(3, 3, 64, 64)
    image = torch.randint(256, (3, 4000, 4000), dtype=torch.uint8)
    with torch.inference_mode():
        needed = max(
            small.nbytes + peak_memory(lambda: dcn.coarse(small)),
            patches.nbytes + peak_memory(lambda: dcn.fine(patches)),
        )
        taken = peak_memory(lambda: dcn.test_step(dict(inputs=[image])))
    assert taken < 1.2 * needed
