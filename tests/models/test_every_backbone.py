"""Every backbone of MMPretrain as fine tower, on no patch and on a single one."""

import mmpretrain.models  # noqa: F401  # registers the backbones
import pytest
import torch
from mmpretrain.registry import MODELS as MMPRETRAIN

from mmdcn.models import TopKSelector
from mmdcn.registry import MODELS

from .dcns import labelled

BACKBONES = {name for name, kind in MMPRETRAIN.module_dict.items() if '.backbones.' in str(kind)}
BACKBONES -= {'TIMMBackbone'}  # it wraps those of another library
RESNET = dict(depth=18, base_channels=8, stem_channels=8)
BOTTLENECKS = dict(depth=50, base_channels=8, stem_channels=8)
GROUPS = dict(depth=50, groups=4, width_per_group=4)
LAYERS = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)
VIT = dict(arch=LAYERS, img_size=64, out_type='featmap')
STAGES = dict(embed_dims=24, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2])
# What makes a backbone small and lets it give a map.
OPTIONS = dict(
    BEiTViT=VIT,
    ConvMixer=dict(arch=dict(embed_dims=32, depth=2, patch_size=7, kernel_size=5)),
    ConvNeXt=dict(arch='atto', gap_before_final_norm=False),
    CSPDarkNet=dict(depth=53),
    CSPResNet=dict(depth=50),
    CSPResNeXt=dict(depth=50),
    DaViT=dict(window_size=2),
    DeiT3=VIT,
    DistilledVisionTransformer=VIT,
    EdgeNeXt=dict(arch='xxsmall', gap_before_final_norm=False),
    EfficientFormer=dict(arch='l1', reshape_last_feat=True),
    HiViT=dict(arch='tiny', img_size=64),
    HorNet=dict(gap_before_final_norm=False),
    HRNet=dict(arch='w18'),
    LeViT=dict(arch='128s', img_size=64),
    MobileOne=dict(arch='s0'),
    MobileViT=dict(arch='xx_small'),
    MViT=dict(arch='tiny', img_size=64),
    PCPVT=dict(arch='small'),
    PyramidVig=dict(arch='tiny'),
    RegNet=dict(arch='regnetx_400mf'),
    RepLKNet=dict(arch='31B'),
    RepMLPNet=dict(arch='B', img_size=64),
    RepVGG=dict(arch='A0'),
    Res2Net=BOTTLENECKS,
    ResNeSt=BOTTLENECKS,
    ResNet=RESNET,
    ResNet_CIFAR=RESNET,
    ResNetV1c=RESNET,
    ResNetV1d=RESNET,
    ResNeXt=GROUPS,
    RevVisionTransformer=VIT,
    SEResNet=BOTTLENECKS,
    SEResNeXt=GROUPS,
    SparseResNet=BOTTLENECKS,
    SVT=dict(arch='small'),
    SwinTransformer=dict(arch=STAGES, pad_small_map=True),
    SwinTransformerV2=dict(
        arch=dict(**STAGES, extra_norm_every_n_blocks=0), img_size=64, window_size=2
    ),
    T2T_ViT=dict(
        img_size=64,
        embed_dims=48,
        num_layers=2,
        layer_cfgs=dict(num_heads=2, feedforward_channels=96),
        out_type='featmap',
    ),
    TinyViT=dict(
        arch='5m', img_size=(64, 64), window_size=[7, 7, 4, 2], gap_before_final_norm=False
    ),
    VGG=dict(depth=11),
    Vig=dict(arch='tiny'),
    VisionTransformer=VIT,
    ViTEVA02=dict(arch='tiny', img_size=56, patch_size=14, out_type='featmap'),
    ViTSAM=dict(arch=dict(**LAYERS, global_attn_indexes=[1]), img_size=64, out_channels=24),
    XCiT=dict(img_size=64, embed_dims=24, depth=2, num_heads=2, out_type='featmap'),
)
SIZES = dict(EfficientFormer=224, InceptionV3=96, LeNet5=32, PyramidVig=224, ViTEVA02=70, Vig=224)
# These pool their map, need a mask, or give tokens or classes.
NO_MAP = {
    'Conformer',
    'InceptionV3',
    'MixMIMTransformer',
    'MlpMixer',
    'SparseConvNeXt',
    'SparseResNet',
    'TNT',
}


def dcn_with(fine: str) -> torch.nn.Module:
    channels = 1 if fine == 'LeNet5' else 3
    return MODELS.build(
        dict(
            type='DCNClassifier',
            coarse=dict(type='ResNet', **RESNET, in_channels=channels),
            fine=dict(type=f'mmpretrain.{fine}', **OPTIONS.get(fine, {})),
            selector=dict(type='TopKSelector', k=0),
            grid=dict(type='PatchGrid', size=SIZES.get(fine, 64), stride=32),
            head=dict(
                type='GlobalMaxPoolHead',
                num_classes=10,
                in_channels=64,
                mid_channels=16,
                kernel_size=1,
                stride=1,
            ),
            losses=dict(hint=dict(type='HintLoss', loss_weight=0.1)),
        )
    )


def trained(dcn: torch.nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor | None]:
    loss, _ = dcn.parse_losses(dcn.train().loss(images, labelled(len(images))))
    loss.backward()
    assert loss.isfinite()
    return {name: weight.grad for name, weight in dcn.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize('fine', sorted(BACKBONES - NO_MAP))
def test_it_does_not_run_on_no_patch_and_trains_on_one(fine):
    dcn = dcn_with(fine)
    images = torch.rand(2, 1 if fine == 'LeNet5' else 3, 96, 96)

    runs = []
    hook = dcn.fine.register_forward_hook(lambda *_: runs.append(1))
    gradients = trained(dcn, images)
    assert all((gradients[name] == 0).all() for name in gradients if name.startswith('fine'))
    assert any((gradients[name] != 0).any() for name in gradients if name.startswith('coarse'))
    with torch.no_grad():
        assert torch.equal(dcn.eval()(images), dcn.head(dcn.coarse(images)[-1]))
    assert not runs
    hook.remove()

    dcn.selector = TopKSelector(k=1)
    dcn.zero_grad()
    gradients = trained(dcn, images[:1])
    assert any((gradients[name] != 0).any() for name in gradients if name.startswith('fine'))


@pytest.mark.parametrize('fine', sorted(NO_MAP))
def test_without_a_map_it_is_refused_at_construction(fine):
    with pytest.raises(ValueError, match=f'{fine} (must give a map|was run on an image)'):
        dcn_with(fine)
