import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from mmdcn.models import ClutteredMNISTCoarse, receptive_field
from mmdcn.models.fitting import cell_centres, feature_shape
from mmdcn.registry import MODELS

SMALL = dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=96)


def build(**cfg):
    init_default_scope('mmdcn')
    return MODELS.build(cfg)


def test_a_chain_of_padded_layers_is_probed_to_what_its_geometry_says():
    chain = nn.Sequential(
        nn.Conv2d(2, 32, 7, stride=2, padding=3),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(32, 32, (5, 3), stride=(1, 2), padding=(2, 0)),
        nn.ReLU(),
    )
    size, stride, offset = receptive_field(chain)
    found = cell_centres(chain)
    assert found.stride == stride
    for centre, begin, length in zip(found.first, offset, size, strict=True):
        assert centre == pytest.approx(begin + length / 2, abs=1)


@pytest.mark.parametrize(
    'tower, stride, first',
    [
        # By hand: padding (k − 1) / 2 centres each layer's first cell on the first pixel, ...
        (dict(type='ResNet', depth=18, base_channels=16, stem_channels=16), 32, 0.5),
        (dict(type='MobileNetV3', arch='small'), 32, 0.5),
        # ... and a transformer's patch is a block.
        (
            dict(
                type='VisionTransformer', arch=SMALL, img_size=32, patch_size=16, out_type='featmap'
            ),
            16,
            8,
        ),
    ],
    ids=lambda value: value['type'] if isinstance(value, dict) else None,
)
def test_towers_of_mmpretrain_look_where_their_layers_say(tower, stride, first):
    found = cell_centres(build(**tower))
    assert found.stride == (stride, stride)
    assert found.first == pytest.approx((first, first), abs=stride / 4)


def test_a_tower_that_pools_by_2_looks_between_the_pixels():
    layers = [
        layer
        for channels in (3, 8, 8)
        for layer in (nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    ]
    found = cell_centres(nn.Sequential(*layers))
    assert found.stride == (8, 8) and found.first == pytest.approx((4, 4), abs=2)


def test_a_tower_that_recomputes_its_activations_looks_where_it_does_otherwise():
    options = dict(type='ResNet', depth=18, base_channels=8, stem_channels=8)
    assert cell_centres(build(**options, with_cp=True)) == cell_centres(build(**options))


def test_what_is_found_depends_on_no_seed_and_draws_no_random_number():
    torch.manual_seed(0)
    tower = build(type='ShuffleNetV2', widen_factor=0.5)
    torch.manual_seed(1)
    other, state = build(type='ShuffleNetV2', widen_factor=0.5), torch.get_rng_state()
    before = {name: value.clone() for name, value in other.state_dict().items()}
    assert cell_centres(tower) == cell_centres(other)
    assert torch.equal(torch.get_rng_state(), state)
    assert other.training
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())


def test_a_tower_that_knows_its_geometry_is_believed():
    assert cell_centres(ClutteredMNISTCoarse()) == ((4, 4), (5.5, 5.5))


def test_shapes_are_those_of_the_last_map():
    assert feature_shape(build(type='ResNet', depth=18), (96, 64)) == (512, 3, 2)


@pytest.mark.parametrize(
    'tower, problem',
    [
        (
            dict(type='ConvNeXt', arch='atto'),
            r'ConvNeXt must give a map \(N, D, rows, columns\) as its '
            r'last output, got \(1, 320\): choose .*gap_before_final_norm=False',
        ),
        (
            dict(type='RepMLPNet', arch='base', out_indices=(3,)),
            r'RepMLPNet was run on an image of 3×672×224 .* and failed: .* give the stride and '
            'offset',
        ),
    ],
)
def test_a_tower_that_gives_no_map_is_named(tower, problem):
    with pytest.raises(ValueError, match=problem):
        cell_centres(build(**tower))


def test_a_tower_that_pools_all_is_named():
    with pytest.raises(ValueError, match="Sequential's map doesn't grow with the image: give the"):
        cell_centres(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(2)))
