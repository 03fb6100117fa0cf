import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmdcn.datasets import SVHNFull, svhn_full
from mmdcn.registry import DATASETS

from .digit_structs import number, write_split

REAL = os.environ.get('SVHN_FRAGMENT')
TRAIN = {
    '1.png': number('19', 246, 77, 81, 219),
    '2.png': number('3'),
    '3.png': number('20517'),
    '4.png': number('1234567'),
    '5.png': number('88', left=-3),
}
EXTRA = {f'{place}.png': number(str(place)) for place in range(1, 41)}


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp('svhn')
    write_split(root / 'train', TRAIN)
    write_split(root / 'extra', EXTRA)
    write_split(root / 'test', {'1.png': number('5'), '2.png': number('210')})
    return str(root)


@pytest.fixture
def root(written, tmp_path):
    """A copy to do harm to."""
    return shutil.copytree(written, tmp_path / 'svhn')


@pytest.fixture
def said(monkeypatch):
    """Lines of the log."""
    lines = []
    monkeypatch.setattr(svhn_full, 'print_log', lambda text, **kwargs: lines.append(text))
    return lines


def paths(dataset):
    return [
        os.path.relpath(dataset.get_data_info(place)['img_path'], dataset.data_root)
        for place in range(len(dataset))
    ]


def test_a_sample_has_the_path_the_digits_their_classes_and_boxes(written):
    sample = SVHNFull(data_root=written)[0]
    assert sample['img_path'] == f'{written}/train/1.png' and sample['sample_idx'] == 0
    assert sample['gt_digits'] == (1, 9)
    assert sample['gt_sequence'].tolist() == [1, 1, 9, 10, 10, 10]
    assert sample['gt_sequence'].dtype == torch.int64
    assert sample['gt_bboxes'].tolist() == [[246, 77, 327, 296], [327, 77, 408, 296]]
    assert sample['gt_bboxes'].dtype == np.float32
    assert 'gt_label' not in sample


def test_digits_keep_the_stored_order_and_label_10_is_0(root):
    write_split(root / 'test', {'1.png': [(10, 50, 0, 5, 5), (7, 10, 0, 5, 5)]})
    sample = SVHNFull(data_root=str(root), split='test')[0]
    assert sample['gt_digits'] == (0, 7)
    assert sample['gt_sequence'].tolist() == [1, 0, 7, 10, 10, 10]


def test_numbers_of_one_and_of_five_digits_have_the_outer_length_classes(written):
    dataset = SVHNFull(data_root=written)
    assert dataset[1]['gt_sequence'].tolist() == [0, 3, 10, 10, 10, 10]
    assert dataset[2]['gt_sequence'].tolist() == [4, 2, 0, 5, 1, 7]


def test_a_longer_number_is_dropped_from_training_and_always_wrong_at_test(written, said):
    assert paths(SVHNFull(data_root=written)) == [f'train/{n}.png' for n in (1, 2, 3, 5)]
    assert said == [
        'SVHNFull: 1 of 5 numbers have more than 5 digits; they are dropped from training.'
    ]
    tested = SVHNFull(data_root=written, test_mode=True)
    assert len(tested) == 5
    assert tested[3]['gt_digits'] == (1, 2, 3, 4, 5, 6, 7)
    assert tested[3]['gt_sequence'].tolist() == [-1, 1, 2, 3, 4, 5]
    assert said[1:] == ['SVHNFull: 1 of 5 numbers have more than 5 digits; they count as wrong.']


def test_boxes_that_stick_out_stay_and_those_without_area_go(root, said):
    digits = [(1, -3, -2, 900, 10), (2, 5, 5, 0, 9), (3, 5, 5, 9, -1)]
    write_split(root / 'test', {'1.png': digits})
    sample = SVHNFull(data_root=str(root), split='test')[0]
    assert sample['gt_digits'] == (1, 2, 3)
    assert sample['gt_bboxes'].tolist() == [[-3, -2, 897, 8]]
    assert said == [
        "SVHNFull: 2 boxes of ['test'] have no area and are left out; their digits stay."
    ]


def test_splits_are_joined_in_one_order(written):
    one = SVHNFull(data_root=written, split=['train', 'extra'], test_mode=True)
    other = SVHNFull(data_root=written, split=('extra', 'train'), test_mode=True)
    assert (
        paths(one)
        == paths(other)
        == [*(f'train/{name}' for name in TRAIN), *(f'extra/{name}' for name in EXTRA)]
    )
    assert one[5 + 26]['gt_digits'] == (2, 7)


def test_train_and_val_share_nothing_and_make_all(written):
    options = dict(data_root=written, split=['train', 'extra'], val_size=9, test_mode=True)
    parts = {part: paths(SVHNFull(part=part, **options)) for part in ('all', 'train', 'val')}
    assert len(parts['val']) == 9
    assert not set(parts['val']) & set(parts['train'])
    assert sorted(parts['val'] + parts['train']) == sorted(parts['all'])
    assert parts['train'] == [path for path in parts['all'] if path not in parts['val']]


def test_the_validation_sample_is_fixed_by_the_seed(written, root):
    options = dict(split='extra', part='val', val_size=5)
    picked = paths(SVHNFull(data_root=written, **options))
    # Pins numpy's random numbers too.
    assert picked == [f'extra/{place}.png' for place in (5, 12, 24, 25, 28)]
    assert paths(SVHNFull(data_root=written, seed=1, **options)) != picked
    (root / picked[0]).unlink()
    assert paths(SVHNFull(data_root=str(root), allow_missing=True, **options)) == picked[1:]


def test_missing_images_are_counted_and_named(root, said):
    for name in ('3.png', '5.png'):
        (root / 'train' / name).unlink()
    what = (
        f'digitStruct.mat lists 5 images but 2 are missing under {root}/train '
        r'\(first: 3.png\); '
    )
    with pytest.raises(
        FileNotFoundError, match=f'^{what}extract train.tar.gz again or pass allow_missing=True$'
    ):
        SVHNFull(data_root=str(root))
    dataset = SVHNFull(data_root=str(root), allow_missing=True)
    assert paths(dataset) == ['train/1.png', 'train/2.png']
    assert said[0] == what.replace('\\', '') + 'they are left out.'


def test_no_image_left_is_an_error(root):
    write_split(root / 'test', {'1.png': number('123456')})
    with pytest.raises(
        ValueError,
        match=r'No image is left of SVHNFull\(split=.test., '
        rf'part=.all.\) under {root}; extract the archives',
    ):
        SVHNFull(data_root=str(root), split='test')


def test_a_missing_split_is_named_with_the_tool_that_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=f'{tmp_path}/extra/digitStruct.mat is missing'):
        SVHNFull(data_root=str(tmp_path), split='extra')


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(split='val'), r"split=...\) must be one of .*, got 'val'"),
        (dict(split=[]), r'split=...\) must be one of .*, got \[\]'),
        (dict(split=['train', 'train']), r'split=...\) .* each once, got'),
        (dict(part='test'), r"part=...\) must be one of \['all', 'train', 'val'\], got 'test'"),
        (dict(val_size=0), r'val_size=...\) must be at least 1, got 0'),
        (
            dict(part='val', val_size=5),
            r'val_size=...\) must be less than the 5 images of .*, got 5',
        ),
        (dict(seed=-1), r'seed=...\) must be at least 0, got -1'),
    ],
)
def test_an_option_out_of_range_is_named(written, options, message):
    with pytest.raises(ValueError, match=rf'SVHNFull\({message}'):
        SVHNFull(data_root=written, **options)


@pytest.mark.parametrize('serialize_data', [True, False])
def test_indices_and_subsets_pick_the_same_images(written, serialize_data):
    options = dict(data_root=written, split='extra', serialize_data=serialize_data)
    whole = SVHNFull(**options)
    assert paths(SVHNFull(indices=3, **options)) == paths(whole)[:3]
    assert paths(SVHNFull(indices=[7, 2], **options)) == [paths(whole)[7], paths(whole)[2]]
    subset = whole.get_subset([30, 4])
    assert paths(subset) == [paths(whole)[30], paths(whole)[4]]
    assert subset[0]['gt_digits'] == (3, 1)
    whole.get_subset_(2)
    assert len(whole) == 2
    assert paths(pickle.loads(pickle.dumps(subset))) == paths(subset)


def test_a_lazy_dataset_reads_when_it_is_asked_to(written):
    dataset = SVHNFull(data_root=f'{written}/nowhere', lazy_init=True)
    dataset.data_root = written
    dataset.full_init()
    assert len(dataset) == 4


def test_an_index_of_many_images_stays_small(tmp_path, monkeypatch):
    images = 100000
    monkeypatch.setattr(
        svhn_full,
        'load_digit_struct',
        lambda path: svhn_full.DigitStruct(
            names=np.array([b'%d.png' % place for place in range(images)]),
            offsets=np.arange(images + 1),
            labels=np.ones(images, np.uint8),
            boxes=np.ones((images, 4), np.float32),
        ),
    )
    monkeypatch.setattr(SVHNFull, '_present', lambda self: np.ones(images, bool))
    dataset = SVHNFull(data_root=str(tmp_path))
    assert len(dataset) == images
    assert len(pickle.dumps(dataset)) < 100 * images  # bytes


def test_numbers_with_rare_digits_are_repeated_and_single_labels_are_refused(root):
    write_split(
        root / 'test', {f'{n}.png': number('1') for n in range(8)} | {'9.png': number('71')}
    )
    dataset = dict(type='SVHNFull', data_root=str(root), split='test')
    balanced = DATASETS.build(
        dict(type='ClassBalancedDataset', dataset=dataset, oversample_thr=4 / 9)
    )
    # The factor of a digit is sqrt(threshold / its share of images), at least 1: 2 for the 7.
    digits = [balanced[index]['gt_digits'] for index in range(len(balanced))]
    assert digits.count((1,)) == 8 and digits.count((7, 1)) == 2
    with pytest.raises(ValueError, match='SVHNFull has no gt_label for each image'):
        balanced.dataset.get_gt_labels()


PIPELINE = [
    dict(type='LoadGrayscale'),
    dict(type='Resize', scale=(128, 64)),
    dict(type='RandomCrop', crop_size=(54, 110)),
    dict(type='PackInputs', algorithm_keys=('gt_sequence',)),
]


@pytest.mark.parametrize('workers', [0, 2])
def test_training_batches_are_crops_with_their_sequences(written, workers):
    dataset = DATASETS.build(
        dict(type='SVHNFull', data_root=written, split='extra', pipeline=PIPELINE)
    )
    batch = next(
        iter(DataLoader(dataset, batch_size=4, num_workers=workers, collate_fn=pseudo_collate))
    )
    assert all(image.shape == (1, 54, 110) for image in batch['inputs'])
    sequences = torch.stack([sample.gt_sequence for sample in batch['data_samples']])
    assert sequences[:, :2].tolist() == [[0, 1], [0, 2], [0, 3], [0, 4]]


def test_test_images_keep_their_size_and_get_one_sample_a_batch(written):
    pipeline = [PIPELINE[0], dict(type='UpscaleToCover', size=(54, 110)), PIPELINE[-1]]
    dataset = SVHNFull(data_root=written, split='test', pipeline=pipeline, test_mode=True)
    batch = next(iter(DataLoader(dataset, collate_fn=pseudo_collate)))
    assert batch['inputs'][0].shape == (1, 73, 110)  # from 40×60
    assert batch['data_samples'][0].img_path == f'{written}/test/1.png'
    assert batch['data_samples'][0].ori_shape == (40, 60)


@pytest.mark.parametrize('real', [REAL] if REAL else ['written'])
def test_images_of_the_training_file_load_with_their_numbers(written, tmp_path, real):
    root = written if real == 'written' else tmp_path
    if real != 'written':
        (tmp_path / 'train').mkdir()
        for path in Path(real, 'train').iterdir():
            (tmp_path / 'train' / path.name).symlink_to(path)
    dataset = SVHNFull(data_root=str(root), allow_missing=True, pipeline=PIPELINE[:1])
    sample = dataset[0]
    assert sample['gt_digits'] == (1, 9)
    assert sample['img'].shape == ((40, 60) if real == 'written' else (350, 741))
    if real != 'written':
        assert len(dataset) == sum(path.suffix == '.png' for path in Path(real, 'train').iterdir())
        assert sample['gt_bboxes'].tolist() == [[246, 77, 327, 296], [323, 81, 419, 300]]
        with pytest.raises(
            FileNotFoundError,
            match='lists 39 images but 37 are missing under '
            r'.*/train \(first: 3.png\); extract train',
        ):
            SVHNFull(data_root=str(root))
