import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from mmdcn.datasets import ClutteredMNIST
from mmdcn.datasets.cluttered_mnist import warp

from ..tools.running import run_python


@pytest.fixture(scope='module')
def splits(mnist_root):
    return {
        split: ClutteredMNIST(data_root=mnist_root, split=split)
        for split in ('train', 'val', 'trainval', 'test')
    }


def digits_of(root, name, number):
    """MNIST read another way."""
    content = Path(root, f'{name}-images-idx3-ubyte').read_bytes()[16:]
    return np.frombuffer(content, np.uint8).reshape(number, 28, 28)


def labels_of(root, name):
    return list(Path(root, f'{name}-labels-idx1-ubyte').read_bytes()[8:])


def test_splits_are_the_first_55000_the_last_5000_both_and_the_test_file(splits, mnist_root):
    labels = labels_of(mnist_root, 'train')
    expected = dict(
        train=labels[:55000],
        val=labels[55000:],
        trainval=labels,
        test=labels_of(mnist_root, 't10k'),
    )
    for split, dataset in splits.items():
        assert len(dataset) == len(expected[split])
        for index in (0, 17, len(dataset) - 1):
            assert dataset[index]['gt_label'] == expected[split][index]


def test_the_digit_stands_in_its_box_with_clutter_added_and_clipped(splits, mnist_root):
    digits = digits_of(mnist_root, 'train', 60000)
    for index in range(50):
        sample = splits['val'][index]
        left, top, right, bottom = sample['gt_bboxes'][0].astype(int).tolist()
        assert (right - left, bottom - top) == (28, 28)
        assert 0 <= left and right <= 100 and 0 <= top and bottom <= 100
        digit, inside = digits[55000 + index], sample['img'][top:bottom, left:right]
        assert (inside >= digit).all()
        assert inside[digit == 0].mean() < 60 and (inside == digit).mean() > 0.5


def test_an_image_is_the_sum_of_its_parts(mnist_root, monkeypatch):
    """Replays the draws of one image with plain loops over floats."""
    dataset = ClutteredMNIST(data_root=mnist_root, split='test', seed=3)
    digits = digits_of(mnist_root, 't10k', 10000)
    real, drawn = np.random.default_rng, []

    class Recorder:
        def __init__(self, key):
            self.rng = real(key)

        def integers(self, *args, **kwargs):
            drawn.append(self.rng.integers(*args, **kwargs))
            return drawn[-1]

    monkeypatch.setattr(np.random, 'default_rng', Recorder)
    image = dataset[5]['img']
    (crops, (top, left)) = drawn
    canvas = np.zeros((100, 100))
    assert len(crops) == 8
    for source, crop_y, crop_x, y, x in crops:
        for row in range(8):
            for column in range(8):
                canvas[y + row, x + column] += digits[source][crop_y + row, crop_x + column] / 255
    canvas = np.minimum(canvas, 1)
    canvas[top : top + 28, left : left + 28] += digits[5] / 255
    np.testing.assert_allclose(image / 255, np.minimum(canvas, 1), atol=1e-6)


def test_distractors_come_from_the_whole_digit_set_and_reach_the_whole_canvas(splits):
    dataset = splits['test']
    mean = np.mean([dataset[index]['img'] for index in range(600)], axis=0)
    quarters = [mean[y : y + 50, x : x + 50].mean() for y in (0, 50) for x in (0, 50)]
    assert max(quarters) < 1.2 * min(quarters)
    assert mean[:4].max() > 0 and mean[-4:].max() > 0


def test_without_distractors_only_the_digit_is_there(mnist_root):
    dataset = ClutteredMNIST(data_root=mnist_root, split='test', num_distractors=0, canvas_size=40)
    digits = digits_of(mnist_root, 't10k', 10000)
    sample = dataset[7]
    left, top, right, bottom = sample['gt_bboxes'][0].astype(int).tolist()
    assert sample['img'].shape == sample['img_shape'] == (40, 40)
    assert np.array_equal(sample['img'][top:bottom, left:right], digits[7])
    assert sample['img'].sum() == digits[7].sum()


def test_an_image_is_fixed_by_seed_split_and_index(splits, mnist_root):
    again = ClutteredMNIST(data_root=mnist_root, split='train')
    other = ClutteredMNIST(data_root=mnist_root, split='train', seed=1)
    for index in (0, 1, 54999):
        image = splits['train'][index]['img']
        assert np.array_equal(again[index]['img'], image)
        assert not np.array_equal(other[index]['img'], image)
        assert not np.array_equal(splits['trainval'][index]['img'], image)
    part = ClutteredMNIST(data_root=mnist_root, split='train', indices=[54999, 1])
    assert np.array_equal(part[0]['img'], splits['train'][54999]['img'])
    assert np.array_equal(splits['train'].get_subset([1])[0]['img'], splits['train'][1]['img'])


def test_the_images_of_the_paper_protocol_never_change(splits):
    """Pins the generator, numpy's random numbers included."""
    digest = hashlib.sha256()
    for _, dataset in sorted(splits.items()):
        for index in range(20):
            digest.update(dataset[index]['img'].tobytes())
    assert digest.hexdigest() == (
        '4fa29f23ac15c41bda3f30056c7f5fc8d9f0588ce0e028637da45ba46b6585f0'
    )


def loaded(dataset, workers):
    return DataLoader(
        dataset,
        batch_size=16,
        num_workers=workers,
        shuffle=True,
        persistent_workers=workers > 0,
        collate_fn=list,
    )


def by_digit(loader):
    return {sample['digit']: sample['img'] for batch in loader for sample in batch}


@pytest.mark.parametrize('regenerate', [False, True])
def test_images_are_the_same_for_0_1_and_4_workers(mnist_root, regenerate):
    epochs = {}
    for workers in (0, 1, 4):
        dataset = ClutteredMNIST(
            data_root=mnist_root, split='test', indices=64, regenerate=regenerate
        )
        loader = loaded(dataset, workers)
        epochs[workers] = []
        for epoch in range(2):
            dataset.set_epoch(epoch)
            epochs[workers].append(by_digit(loader))
    for workers in (1, 4):
        for epoch in range(2):
            for digit, image in epochs[0][epoch].items():
                assert np.array_equal(epochs[workers][epoch][digit], image)
    changed = [
        not np.array_equal(image, epochs[4][1][digit]) for digit, image in epochs[4][0].items()
    ]
    assert all(changed) if regenerate else not any(changed)


@pytest.mark.integration
def test_images_are_the_same_in_another_process(splits, mnist_root):
    printed = run_python(
        '-c',
        f"""
import mmdcn.datasets, hashlib
dataset = mmdcn.datasets.ClutteredMNIST(data_root={mnist_root!r}, split='val')
print('digest', hashlib.md5(dataset[123]['img'].tobytes()).hexdigest())
""",
        PYTHONHASHSEED='77',
    )
    assert hashlib.md5(splits['val'][123]['img'].tobytes()).hexdigest() in printed


def test_clutter_drawn_anew_is_drawn_alike_in_the_same_epoch(mnist_root):
    one = ClutteredMNIST(data_root=mnist_root, split='test', regenerate=True)
    other = ClutteredMNIST(data_root=mnist_root, split='test', regenerate=True)
    for dataset in (one, other):
        dataset.set_epoch(3)
    assert np.array_equal(one[0]['img'], other[0]['img'])


@pytest.mark.parametrize(
    'option, value, message',
    [
        ('split', 'training', r"one of \['train', 'val', 'trainval', 'test'\], got 'training'"),
        ('canvas_size', 27, 'must hold a whole digit, at least 28 pixels, got 27'),
        ('distractor_size', 29, 'cut from a digit and must be 1 to 28 pixels, got 29'),
        ('distractor_size', 0, 'cut from a digit and must be 1 to 28 pixels, got 0'),
        ('num_distractors', -1, 'must be at least 0, got -1'),
        ('seed', -2, 'must be at least 0, got -2'),
    ],
)
def test_an_option_out_of_range_is_named(mnist_root, option, value, message):
    with pytest.raises(ValueError, match=rf'ClutteredMNIST\({option}=...\).*{message}'):
        ClutteredMNIST(data_root=mnist_root, **{option: value})


def test_the_root_may_be_in_ones_home(mnist_root, monkeypatch):
    monkeypatch.setenv('HOME', str(Path(mnist_root).parent))
    assert len(ClutteredMNIST(data_root='~/mnist', split='val')) == 5000


def test_missing_mnist_is_named_with_the_tool_that_makes_it(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=f'The MNIST file {tmp_path}/train-images-idx3-ubyte is missing; run '
        f'`python .*prepare_mnist.py --out {tmp_path}`',
    ):
        ClutteredMNIST(data_root=str(tmp_path))


@pytest.mark.parametrize('harm', ['cut', 'header', 'longer'])
def test_corrupt_mnist_is_named(tmp_path, mnist_root, harm):
    for name in ('images-idx3', 'labels-idx1'):
        shutil.copy(Path(mnist_root, f't10k-{name}-ubyte'), tmp_path)
    path = tmp_path / 't10k-images-idx3-ubyte'
    content = bytearray(path.read_bytes())
    if harm == 'cut':
        del content[-1]
    elif harm == 'header':
        content[3] = 1
    else:
        content.append(0)
    path.write_bytes(content)
    with pytest.raises(
        ValueError,
        match=f'The MNIST file {path} is corrupt: it is not an idx file of 10000×28×28 bytes; run',
    ):
        ClutteredMNIST(data_root=str(tmp_path), split='test')


def test_a_label_that_is_no_digit_is_named(tmp_path, mnist_root):
    for name in ('images-idx3', 'labels-idx1'):
        shutil.copy(Path(mnist_root, f't10k-{name}-ubyte'), tmp_path)
    path = tmp_path / 't10k-labels-idx1-ubyte'
    content = bytearray(path.read_bytes())
    content[100] = 11
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f'{path} holds the label 11, but digits are 0 to 9'):
        ClutteredMNIST(data_root=str(tmp_path), split='test')


class Draws:
    """A generator that draws what it was told."""

    def __init__(self, uniform=0.0, normal=0.0):
        self.drawn = dict(uniform=uniform, normal=normal)

    def uniform(self, low, high, size):
        assert low == -high
        return np.broadcast_to(self.drawn['uniform'], size)

    def normal(self, mean, deviation, size):
        assert mean == 0
        return np.broadcast_to(self.drawn['normal'], size)


def test_a_warp_takes_pixels_from_where_its_matrix_and_displacements_say(mnist_root):
    digit = digits_of(mnist_root, 'train', 60000)[4]
    np.testing.assert_array_equal(warp(digit, 0.1, 0.1, Draws()), digit)
    quarter = Draws(uniform=[[-1, 1], [-1, -1]])  # with the identity a turn by 90°
    np.testing.assert_array_equal(warp(digit, 1, 0, quarter), np.rot90(digit))
    moved = warp(digit, 0, 1, Draws(normal=[3, -2]))  # looks to the right and up
    np.testing.assert_array_equal(moved[2:, :-3], digit[:-2, 3:])
    assert not moved[:2].any() and not moved[:, -3:].any()


def test_half_of_the_digits_are_warped_in_place_and_as_clutter_anew_each_epoch(mnist_root):
    def build(**options):
        return ClutteredMNIST(data_root=mnist_root, split='val', regenerate=True, **options)

    plain, warped = build(num_distractors=0), build(num_distractors=0, affine=0.15, elastic=0.5)
    changed = []
    for index in range(400):
        one, other = plain[index], warped[index]
        assert np.array_equal(one['gt_bboxes'], other['gt_bboxes'])
        left, top, right, bottom = one['gt_bboxes'][0].astype(int).tolist()
        differs = one['img'] != other['img']
        changed.append(differs.any())
        differs[top:bottom, left:right] = False
        assert not differs.any()
    assert 150 < sum(changed) < 250
    before = [warped[index]['img'] for index in range(20)]
    again = build(num_distractors=0, affine=0.15, elastic=0.5)
    for index in range(20):
        np.testing.assert_array_equal(again[index]['img'], before[index])
    warped.set_epoch(1)
    plain.set_epoch(1)
    first = [not (plain[index]['img'] == warped[index]['img']).all() for index in range(20)]
    assert first != changed[:20]

    # Nearly all images have a fragment of a digit that is.
    plain, warped = build(), build(affine=0.15)
    assert 45 < sum((plain[index]['img'] != warped[index]['img']).any() for index in range(50))


@pytest.mark.parametrize('option', ['affine', 'elastic'])
@pytest.mark.parametrize('value', [-0.1, float('nan'), float('inf')])
def test_a_warp_that_is_no_size_is_refused(mnist_root, option, value):
    with pytest.raises(ValueError, match=rf'ClutteredMNIST\({option}=...\) must be a finite'):
        ClutteredMNIST(data_root=mnist_root, **{option: value})
