import hashlib
import re
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from mmdcn.datasets import MegapixelMNIST
from mmdcn.datasets.megapixel_mnist import crossed_lines

from ..tools.running import run_python
from .test_cluttered_mnist import digits_of, labels_of

SPLITS = ('train', 'val', 'trainval', 'test')


def small(root, **options) -> MegapixelMNIST:
    return MegapixelMNIST(data_root=root, **{'canvas_size': 200, 'num_noise': 4, **options})


@pytest.fixture(scope='module')
def splits(mnist_root):
    return {split: small(mnist_root, split=split) for split in SPLITS}


def windows(sample):
    """What is in the boxes, (5, 28, 28)."""
    boxes = sample['gt_bboxes'].astype(int).tolist()
    return [sample['img'][y1:y2, x1:x2] for x1, y1, x2, y2 in boxes]


def label_of(window, digits, labels) -> int:
    """The label of the digit of MNIST that a window shows."""
    (place,) = np.flatnonzero((digits == window).all(axis=(1, 2)))[:1]
    return labels[place]


def test_an_image_has_1500_pixels_a_side_and_a_split_5000_or_1000_images(mnist_root):
    for split, number in zip(SPLITS, (5000, 1000, 5000, 1000), strict=True):
        dataset = MegapixelMNIST(data_root=mnist_root, split=split)
        assert len(dataset) == number
    sample = dataset[0]
    assert sample['img'].shape == sample['img_shape'] == (1500, 1500)
    assert sample['img'].dtype == np.uint8
    assert sample['gt_bboxes'].shape == (5, 4) and sample['gt_bboxes'].dtype == np.float32


def test_the_label_is_that_of_the_first_three_digits_and_of_no_other(splits, mnist_root):
    digits, labels = digits_of(mnist_root, 't10k', 10000), labels_of(mnist_root, 't10k')
    for index in range(20):
        sample = splits['test'][index]
        of_digits = [label_of(window, digits, labels) for window in windows(sample)]
        same = [label == sample['gt_label'] for label in of_digits]
        assert same == [True, True, True, False, False]


@pytest.mark.parametrize(
    'split, first, last', [('train', 0, 55000), ('val', 55000, 60000), ('trainval', 0, 60000)]
)
def test_digits_are_those_of_the_split(splits, mnist_root, split, first, last):
    digits = {digit.tobytes() for digit in digits_of(mnist_root, 'train', 60000)[first:last]}
    for index in range(20):
        for window in windows(splits[split][index]):
            assert window.tobytes() in digits


@pytest.mark.parametrize('number, least', [(1, 84), (3, 84), (7, 140)])
def test_more_than_half_of_any_odd_number_of_digits_have_the_label(mnist_root, number, least):
    digits, labels = digits_of(mnist_root, 't10k', 10000), labels_of(mnist_root, 't10k')
    options = dict(data_root=mnist_root, split='test', num_digits=number, num_noise=2)
    dataset = MegapixelMNIST(canvas_size=least, **options)
    for index in range(5):
        sample = dataset[index]
        shown = [label_of(window, digits, labels) for window in windows(sample)]
        same = [label == sample['gt_label'] for label in shown]
        assert same == [True] * (number // 2 + 1) + [False] * (number // 2)
    with pytest.raises(ValueError, match=f'at least {least} pixels'):
        MegapixelMNIST(canvas_size=least - 1, **options)


@pytest.mark.parametrize('size', [140, 200])
def test_digits_lie_within_the_image_and_do_not_overlap(mnist_root, size):
    dataset = small(mnist_root, split='test', canvas_size=size)
    for index in range(100):
        boxes = dataset[index]['gt_bboxes']
        assert ((boxes[:, 2:] - boxes[:, :2]) == 28).all()
        assert (boxes >= 0).all() and (boxes <= size).all()
        for one, other in combinations(boxes[:, :2], 2):
            assert np.abs(one - other).max() >= 28


def test_labels_others_and_places_are_spread_evenly(mnist_root):
    dataset = small(mnist_root, split='train', num_noise=0)
    numbers = np.bincount([dataset.get_data_info(i)['gt_label'] for i in range(2000)])
    assert len(numbers) == 10 and numbers.min() > 150 and numbers.max() < 250
    corners = np.concatenate([dataset[index]['gt_bboxes'][:, :2] for index in range(400)])
    assert corners.min() == 0 and corners.max() == 172
    assert np.abs(corners.mean(axis=0) - 86).max() < 5


def test_digits_cover_noise_which_is_bright_and_leaves_the_first_28_rows_and_columns(mnist_root):
    dataset = small(mnist_root, split='test', num_noise=3)
    plain = small(mnist_root, split='test', num_noise=0)
    for index in range(20):
        noisy, clean = dataset[index], plain[index]
        assert np.array_equal(noisy['gt_bboxes'], clean['gt_bboxes'])
        for window, other in zip(windows(noisy), windows(clean), strict=True):
            assert np.array_equal(window, other)
        image = noisy['img'].copy()
        for x1, y1, x2, y2 in noisy['gt_bboxes'].astype(int).tolist():
            image[y1:y2, x1:x2] = 0
        rows, columns = np.nonzero(image)
        assert len(rows) and min(rows.min(), columns.min()) >= 28
        assert image[rows, columns].min() >= 203  # 0.8 of white


def test_as_many_pieces_of_noise_as_asked_for(mnist_root):
    """In a large canvas hardly any meet: the white pixels are in proportion."""
    sums = {}
    for number in (10, 20, 50):
        dataset = MegapixelMNIST(data_root=mnist_root, split='test', num_noise=number)
        clean = MegapixelMNIST(data_root=mnist_root, split='test', num_noise=0)
        sums[number] = np.mean(
            [dataset[i]['img'].astype(int).sum() - clean[i]['img'].sum() for i in range(12)]
        )
    assert sums[20] / sums[10] == pytest.approx(2, rel=0.1)
    assert sums[50] / sums[10] == pytest.approx(5, rel=0.1)


def test_a_pattern_is_two_straight_lines(splits):
    for pattern in splits['train']._patterns:
        rows, columns = np.nonzero(pattern)
        assert len(rows) and (pattern[rows, columns] >= 203).all()
        assert left_over(rows, columns) <= 2


def left_over(rows, columns) -> int:
    """Pixels that are near neither of the two lines from the upper corners that fit best."""
    angles = np.linspace(0, np.pi / 2.5, 400)[:, None]
    distances = np.concatenate(
        [
            np.abs(np.sin(angles) * rows - np.cos(angles) * across)
            for across in (columns, 27 - columns)
        ]
    )  # of each pixel from each line
    near = distances < 1
    first = near[near.sum(axis=1).argmax()]
    second = (near & ~first).sum(axis=1).max()
    return len(rows) - first.sum() - second


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_lines_cross_their_whole_window(seed, number):
    patterns = crossed_lines(np.random.default_rng(seed), number)
    assert patterns.shape == (number, 28, 28)
    for pattern in patterns:
        rows, columns = np.nonzero(pattern)
        assert rows.min() == 0
        assert rows.max() == 27 or columns.max() == 27 or columns.min() == 0
        assert 28 <= len(rows) <= 2 * 56


def test_patterns_of_a_split_are_50_and_other_than_those_of_another_split_or_seed(
    splits, mnist_root
):
    others = [splits[split]._patterns for split in SPLITS]
    others.append(small(mnist_root, split='train', seed=1)._patterns)
    assert all(len(patterns) == 50 for patterns in others)
    for one, other in combinations(others, 2):
        assert not np.array_equal(one, other)


def test_an_image_is_fixed_by_seed_split_and_index(splits, mnist_root):
    again, other = small(mnist_root, split='train'), small(mnist_root, split='train', seed=1)
    for index in (0, 1, 4999):
        sample = splits['train'][index]
        assert np.array_equal(again[index]['img'], sample['img'])
        assert not np.array_equal(other[index]['img'], sample['img'])
        assert not np.array_equal(splits['trainval'][index]['img'], sample['img'])
    part = small(mnist_root, split='train', indices=[4999, 1])
    assert np.array_equal(part[0]['img'], splits['train'][4999]['img'])
    assert np.array_equal(splits['train'].get_subset([1])[0]['img'], splits['train'][1]['img'])


def test_the_images_of_the_papers_protocol_never_change(mnist_root):
    """Pins the generator, numpy's random numbers included."""
    digest = hashlib.sha256()
    for split in SPLITS:
        dataset = MegapixelMNIST(data_root=mnist_root, split=split)
        for index in range(4):
            digest.update(dataset[index]['img'].tobytes())
    assert digest.hexdigest() == (
        'ce44e0f93eaa2ac9ae8a846dc218228c2007c2302efdc4db4376e0fbe2995eec'
    )


def test_drawn_anew_an_image_keeps_its_label_and_changes_all_else(mnist_root):
    dataset = small(mnist_root, split='val', regenerate=True)
    digits, labels = digits_of(mnist_root, 'train', 60000), labels_of(mnist_root, 'train')
    for index in range(5):
        dataset.set_epoch(0)
        before = dataset[index]
        dataset.set_epoch(1)
        after, again = dataset[index], dataset[index]
        assert np.array_equal(after['img'], again['img'])
        assert not np.array_equal(after['img'], before['img'])
        assert not np.array_equal(after['gt_bboxes'], before['gt_bboxes'])
        label = label_of(windows(after)[0], digits, labels)
        assert after['gt_label'] == before['gt_label'] == label


def by_sample(loader):
    return {sample['sample']: sample['img'] for batch in loader for sample in batch}


@pytest.mark.parametrize('regenerate', [False, True])
def test_images_are_the_same_for_0_1_and_4_workers(mnist_root, regenerate):
    epochs = {}
    for workers in (0, 1, 4):
        dataset = small(mnist_root, split='test', indices=32, regenerate=regenerate)
        loader = DataLoader(
            dataset,
            batch_size=8,
            num_workers=workers,
            shuffle=True,
            persistent_workers=workers > 0,
            collate_fn=list,
        )
        epochs[workers] = []
        for epoch in range(2):
            dataset.set_epoch(epoch)
            epochs[workers].append(by_sample(loader))
    for workers in (1, 4):
        for expected, made in zip(epochs[0], epochs[workers], strict=True):
            assert made.keys() == expected.keys()
            assert all(np.array_equal(made[key], expected[key]) for key in made)
    changed = [not np.array_equal(image, epochs[4][1][key]) for key, image in epochs[4][0].items()]
    assert all(changed) if regenerate else not any(changed)


@pytest.mark.integration
def test_images_are_the_same_in_another_process(splits, mnist_root):
    printed = run_python(
        '-c',
        f"""
import mmdcn.datasets, hashlib
dataset = mmdcn.datasets.MegapixelMNIST(data_root={mnist_root!r}, split='val', canvas_size=200,
                                        num_noise=4)
print('digest', hashlib.md5(dataset[123]['img'].tobytes()).hexdigest())
""",
        PYTHONHASHSEED='77',
    )
    assert hashlib.md5(splits['val'][123]['img'].tobytes()).hexdigest() in printed


@pytest.mark.parametrize(
    'option, value, message',
    [
        ('split', 'training', r"one of \['train', 'val', 'trainval', 'test'\], got 'training'"),
        ('canvas_size', 139, 'must hold 5 digits .*, at least 140 pixels, got 139'),
        ('num_noise', -1, 'must be at least 0, got -1'),
        ('num_digits', 4, 'must be 1, 3, 5 or so on, got 4'),
        ('num_digits', -1, 'must be 1, 3, 5 or so on, got -1'),
        ('seed', -2, 'must be at least 0, got -2'),
    ],
)
def test_an_option_out_of_range_is_named(mnist_root, option, value, message):
    with pytest.raises(ValueError, match=rf'MegapixelMNIST\({option}=...\).*{message}'):
        MegapixelMNIST(data_root=mnist_root, **{option: value})


def test_missing_mnist_is_named_with_the_tool_that_makes_it(tmp_path):
    path = re.escape(str(tmp_path / 'train-images-idx3-ubyte'))
    with pytest.raises(FileNotFoundError, match=f'The MNIST file {path} is missing; run'):
        MegapixelMNIST(data_root=str(tmp_path))
