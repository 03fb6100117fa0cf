"""Overviews of files in a pipeline, and what may follow them."""

import copy
import pickle

import numpy as np
import pytest
import torch
from mmcv.transforms import TestTimeAug
from mmengine.dataset import Compose, pseudo_collate
from mmpretrain.datasets import CustomDataset

from mmdcn.datasets.transforms.overview import SourcePath
from mmdcn.registry import TRANSFORMS
from mmdcn.structures import shrink

SCALE = 1 / 4
LOAD = dict(type='mmdcn.LoadOverview', scale=SCALE)
PACK = dict(type='PackInputs')


@pytest.fixture
def image(tmp_path):
    """A file and its pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    np.save(tmp_path / 'image.npy', pixels)
    return str(tmp_path / 'image.npy'), pixels


def pipeline(*steps):
    return Compose([TRANSFORMS.build(step) for step in (LOAD, *steps)])


def test_it_loads_what_the_coarse_tower_sees_of_the_pixels(image):
    path, pixels = image
    data = pipeline(PACK)(dict(img_path=path))
    whole = torch.from_numpy(pixels).permute(2, 0, 1)
    assert torch.equal(data['inputs'], shrink(whole[None], SCALE)[0])
    sample = data['data_samples']
    assert sample.img_shape == (22, 32) and sample.ori_shape == (90, 130)
    assert sample.img_path == path


@pytest.mark.parametrize('carry', [copy.deepcopy, lambda path: pickle.loads(pickle.dumps(path))])
def test_the_path_carries_the_source_through_copies_and_processes(image, carry):
    path, pixels = image
    sent = carry(pipeline()(dict(img_path=path))['img_path'])
    assert isinstance(sent, SourcePath) and sent == path and sent.scale == SCALE
    assert np.array_equal(sent.source.window(10, 20, 30, 40), pixels[10:40, 20:60])


def test_a_dataset_of_folders_needs_nothing_else(tmp_path, image):
    for name in 'ab':
        (tmp_path / 'data' / name).mkdir(parents=True)
        np.save(tmp_path / 'data' / name / 'x.npy', image[1])
    dataset = CustomDataset(
        data_root=str(tmp_path / 'data'), pipeline=[LOAD, PACK], extensions=('.npy',)
    )
    batch = pseudo_collate([dataset[0], dataset[1]])
    assert [sample.gt_label.item() for sample in batch['data_samples']] == [0, 1]
    assert all(hasattr(sample.img_path, 'source') for sample in batch['data_samples'])


TURN, FLIP = dict(type='RandomTurn'), dict(type='RandomFlip', prob=0.7)
ACROSS, DOWN = (dict(FLIP, prob=1.0, direction=each) for each in ('horizontal', 'vertical'))


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize(
    'steps',
    [[TURN], [FLIP], [ACROSS, DOWN], [ACROSS, dict(DOWN, prob=0.0)], [FLIP, TURN, FLIP]],
    ids=['turn', 'flip', 'two', 'one of two', 'mixed'],
)
def test_overview_file_and_boxes_turn_together(image, steps, seed):
    path, pixels = image
    pixels = pixels.copy()
    pixels[20:40, 50:90] = 0
    np.save(path, pixels)
    np.random.seed(seed)
    boxes = np.array([[50, 20, 90, 40]], np.float32)
    data = pipeline(*steps)(dict(img_path=path, gt_bboxes=boxes))
    source, ((x1, y1, x2, y2),) = data['img_path'].source, data['gt_bboxes'].astype(int).tolist()
    assert not source.window(y1, x1, y2 - y1, x2 - x1).any()
    assert source.window(y1 - 1, x1 - 1, y2 - y1 + 2, x2 - x1 + 2).any(axis=2).mean() > 0.1
    assert source.size == data['ori_shape']
    whole = torch.from_numpy(source.window(0, 0, *source.size)).permute(2, 0, 1)
    again = shrink(whole[None].float(), SCALE)[0].permute(1, 2, 0).numpy()
    assert data['img'].shape == again.shape == (*data['img_shape'], 3)
    # Where the scale does not divide the size, a flip moves the grid by a share of a pixel.
    assert np.abs(data['img'] - again).mean() < 20


def test_turns_of_whole_images_are_the_eight_symmetries_of_a_square():
    image = np.arange(6).reshape(2, 3)
    found = set()
    np.random.seed(0)
    for _ in range(100):
        turned = TRANSFORMS.build(dict(type='mmdcn.RandomTurn'))(dict(img=image))['img']
        found.add((turned.shape, tuple(turned.flatten())))
    expected = {
        (each.shape, tuple(each.flatten()))
        for turned in (image, image.T)
        for each in (turned, turned[::-1], turned[:, ::-1], turned[::-1, ::-1])
    }
    assert found == expected


@pytest.mark.parametrize(
    'steps, message',
    [
        ([dict(type='Rotate', angle=10.0)], 'Rotate may move pixels of the overview'),
        ([dict(type='Resize', scale=(40, 40))], 'Resize may move pixels'),
        ([dict(type='RandomResizedCrop', scale=20)], 'RandomResizedCrop may move'),
        ([dict(type='Normalize', mean=[0.0], std=[1.0])], 'Normalize may .* change their range'),
        ([dict(type='PackInputs', meta_keys=('ori_shape',))], 'leaves out img_path'),
        (
            [dict(type='RandomApply', transforms=[dict(type='Rotate', angle=1.0)], prob=0.5)],
            'Rotate may move',
        ),
        ([dict(type='mmcv.RandomFlip', prob=1.0)], 'RandomFlip may .* use mmdcn.RandomFlip'),
        (
            [
                dict(
                    type='TransformBroadcaster',
                    mapping=dict(img=['img']),
                    auto_remap=True,
                    transforms=[dict(type='Rotate', angle=90.0)],
                )
            ],
            'TransformBroadcaster may move',
        ),
        ([dict(type='ColorJitter', brightness=0.2)], 'ColorJitter .* takes no float32'),
    ],
)
def test_what_would_part_the_overview_from_its_file_is_refused(image, steps, message):
    with pytest.raises(ValueError, match=message):
        pipeline(*steps)(dict(img_path=image[0]))


def test_it_is_refused_also_inside_of_test_time_augmentation(image):
    views = TestTimeAug(transforms=[[LOAD], [dict(type='Rotate', angle=10.0)], [PACK]])
    with pytest.raises(ValueError, match='Rotate may move'):
        Compose([views])(dict(img_path=image[0]))


def test_a_class_of_ones_own_may_say_that_it_fits(image):
    class Darken:
        fits_overviews = True

        def __call__(self, results):
            results['img'] = results['img'] / 2
            return results

    assert Compose([TRANSFORMS.build(LOAD), Darken()])(dict(img_path=image[0]))


@pytest.mark.parametrize('scale', [0, 1.5])
def test_a_scale_that_is_no_share_is_refused(scale):
    with pytest.raises(ValueError, match=r'within \(0, 1\]'):
        TRANSFORMS.build(dict(type='mmdcn.LoadOverview', scale=scale))


def test_colours_of_8_bits_are_not_changed_in_16(tmp_path):
    np.save(tmp_path / 'deep.npy', np.zeros((40, 40, 3), np.uint16))
    with pytest.raises(ValueError, match='deep.npy holds 16 bits, and Brightness takes 0 to 255'):
        pipeline(dict(type='Brightness', magnitude=0.5, prob=1.0))(
            dict(img_path=str(tmp_path / 'deep.npy'))
        )
