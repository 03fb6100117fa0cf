"""White squares on black images: a box found in the input, mapped back, is the square drawn."""

import numpy as np
import pytest

from mmdcn.apis.images import ReadingPipeline

PACK = dict(type='PackInputs')


def through(steps: list, image: np.ndarray) -> dict:
    return ReadingPipeline([*steps, PACK], channels=1 if image.ndim == 2 else 3)(image)


def white(image: np.ndarray) -> list:
    """(x1, y1, x2, y2) of the pixels above half."""
    rows, columns = np.nonzero(image > 127)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize(
    'size, square',
    [((64, 96), (41, 20, 56, 33)), ((97, 64), (20, 41, 37, 61)), ((50, 51), (22, 21, 28, 27))],
)
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize(
    'steps, coarsest',  # pixels of the image in one of the input
    [
        ([], 1),
        ([dict(type='ResizeEdge', scale=128), dict(type='CenterCrop', crop_size=112)], 1),
        ([dict(type='ResizeEdge', scale=40), dict(type='CenterCrop', crop_size=(33, 38))], 2),
        ([dict(type='Resize', scale=(140, 77))], 2),
        ([dict(type='Resize', scale=(140, 77), keep_ratio=True)], 2),
        ([dict(type='Pad', size=(200, 101))], 1),
        ([dict(type='Pad', pad_to_square=True), dict(type='ResizeEdge', scale=224)], 1),
        ([dict(type='CenterCrop', crop_size=45)], 1),
        ([dict(type='CenterCrop', crop_size=81, auto_pad=True)], 1),
        (
            [
                dict(type='mmdcn.UpscaleToCover', size=(70, 120)),
                dict(type='RandomFlip', prob=0.0),
                dict(type='Normalize', mean=[0.0], std=[1.0], to_rgb=False),
                dict(type='CenterCrop', crop_size=(95, 69)),
                dict(type='Pad', size_divisor=32),
            ],
            1,
        ),
    ],
)
def test_a_square_is_where_it_was_drawn(steps, coarsest, channels, size, square):
    x1, y1, x2, y2 = square
    image = np.zeros(size if channels == 1 else (*size, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    data = through(steps, image)
    placement = data['data_samples'].placement
    assert placement.lost_in is None
    found = placement.in_image(np.array([white(data['inputs'][0].numpy())]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [square], atol=0.51 * coarsest)  # of rounding to pixels


@pytest.mark.parametrize('factor', [2, 4])
def test_whole_factors_are_mapped_back_exactly(factor):
    image = np.zeros((60, 80), np.uint8)
    image[31:40, 35:43] = 255
    steps = [
        dict(type='CenterCrop', crop_size=51),
        dict(type='ResizeEdge', scale=51 * factor),
        dict(type='Pad', size=(300, 300)),
    ]
    data = through(steps, image)
    found = data['data_samples'].placement.in_image(np.array([white(data['inputs'][0].numpy())]))
    assert found.tolist() == [[35, 31, 43, 40]]


@pytest.mark.parametrize(
    'step',
    [
        dict(type='RandomFlip', prob=1.0),
        dict(type='EfficientNetCenterCrop', crop_size=32),
        dict(type='RandomCrop', crop_size=32),
        dict(type='Rotate', angle=30.0, prob=1.0),
    ],
    ids=lambda step: step['type'],
)
def test_what_moves_pixels_in_another_way_is_named(step):
    image = np.random.default_rng(0).integers(0, 256, (64, 96), np.uint8)
    data = through([step, dict(type='ResizeEdge', scale=64)], image)
    assert data['data_samples'].placement.lost_in == step['type']
