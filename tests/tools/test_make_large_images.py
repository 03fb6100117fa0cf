import json
import signal
import subprocess
import time
from itertools import combinations

import numpy as np
import pytest
import tifffile
from mmpretrain.datasets import CustomDataset

from tools.dataset_converters import make_large_images as tool

from ..conftest import ROOT
from ..datasets.test_cluttered_mnist import digits_of, labels_of
from .running import TIMEOUT, python

TOOL = ROOT / 'tools' / 'dataset_converters' / 'make_large_images.py'
SMALLEST, LARGEST = 560, 720


@pytest.fixture
def make(mnist_root):
    def run(out, train=0, val=0, test=0, smallest=SMALLEST, largest=LARGEST, seed=0, workers=1):
        options = dict(train=train, val=val, test=test, smallest=smallest, largest=largest)
        options.update(seed=seed, workers=workers, data_root=mnist_root)
        named = [f'--{name.replace("_", "-")}={value}' for name, value in options.items()]
        tool.main([f'--out={out}', *named])

    return run


@pytest.fixture
def made(make, tmp_path):
    make(tmp_path / 'made', train=10, val=10, test=20)
    return tmp_path / 'made'


def images(out):
    return {
        str(path.relative_to(out)): tifffile.imread(path) for path in sorted(out.rglob('*.tif'))
    }


def held(out):
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob('*') if path.is_file()
    }


def test_custom_dataset_reads_a_split_and_each_class_is_as_frequent(made):
    for split, count in dict(train=10, val=10, test=20).items():
        dataset = CustomDataset(data_root=str(made), data_prefix=split)
        assert dataset.CLASSES == tuple('0123456789')
        assert np.bincount(dataset.get_gt_labels()).tolist() == [count // 10] * 10


def test_heights_and_widths_are_drawn_apart_and_within_the_limits(made):
    shapes = {image.shape for image in images(made).values()}
    assert len(shapes) > 30
    assert all(SMALLEST <= length <= LARGEST for shape in shapes for length in shape)
    assert any(height < width for height, width in shapes)
    assert any(height > width for height, width in shapes)


def test_a_file_is_a_tiled_deflated_pyramid_of_means(made):
    with tifffile.TiffFile(made / 'test' / '3' / '0004.tif') as file:
        (series,) = file.series
        levels = [level.asarray().astype(float) for level in series.levels]
        for level in series.levels:
            (page,) = level.pages
            assert (page.tilewidth, page.tilelength) == (256, 256)
            assert page.dtype == np.uint8 and page.samplesperpixel == 1
            assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
    assert len(levels) == 6
    for larger, smaller in zip(levels, levels[1:], strict=False):
        rows, columns = (length // 2 for length in larger.shape)
        blocks = larger[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2)
        assert smaller.shape == (rows, columns)
        assert np.abs(blocks.mean(axis=(1, 3)) - smaller).max() <= 0.5


def test_boxes_hold_enlarged_digits_and_the_first_three_are_those_of_the_label(made, mnist_root):
    digits, labels = digits_of(mnist_root, 't10k', 10000), labels_of(mnist_root, 't10k')
    described = json.loads((made / 'test.json').read_text())['files']
    shown = images(made / 'test')
    assert described.keys() == shown.keys()
    for place, image in list(shown.items())[::5]:
        size, boxes = described[place]['size'], described[place]['boxes']
        assert image.shape == tuple(size)
        assert {(x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes} == {(112, 112)}
        assert all(
            max(abs(x - x_), abs(y - y_)) >= 112
            for (x, y, *_), (x_, y_, *_) in combinations(boxes, 2)
        )
        shows = []
        for x1, y1, x2, y2 in boxes:
            small = image[y1:y2:4, x1:x2:4]
            assert np.array_equal(image[y1:y2, x1:x2], np.kron(small, np.ones((4, 4), np.uint8)))
            shows.append(labels[np.flatnonzero((digits == small).all(axis=(1, 2)))[0]])
        label = int(place[0])
        assert [shown_label == label for shown_label in shows] == [True] * 3 + [False] * 2


def test_an_image_depends_on_seed_split_and_index_alone(make, made, tmp_path):
    make(tmp_path / 'again', train=12, val=10, workers=2)
    before, again = held(made), held(tmp_path / 'again')
    names = [name for name in before if name.endswith('.tif') and not name.startswith('test')]
    assert len(names) == 20
    assert all(before[name] == again[name] for name in names)
    shown = images(made)
    assert not np.array_equal(shown['train/0/0001.tif'], shown['val/0/0001.tif'])
    make(tmp_path / 'other', val=1, seed=1)
    other = images(tmp_path / 'other')
    assert not np.array_equal(shown['val/0/0001.tif'], other['val/0/0001.tif'])


def test_complete_files_are_kept_and_missing_and_cut_ones_are_written(made, make, capsys):
    before = held(made)
    kept, cut, missing, junk = (
        made / 'val' / place for place in ('0/0001.tif', '1/0002.tif', '2/0003.tif', '3/0004.tif')
    )
    written = kept.stat().st_mtime_ns
    cut.write_bytes(cut.read_bytes()[:-1])
    missing.unlink()
    junk.write_bytes(b'junk')
    (made / 'val' / '0' / '0001.9-9.unfinished.tif').write_bytes(b'half')
    capsys.readouterr()
    make(made, val=10)
    assert f'{made / "val"} is complete: 10 images, 7 of them kept.' in capsys.readouterr().err
    assert held(made) == before
    assert kept.stat().st_mtime_ns == written


def test_an_interrupted_run_leaves_complete_files_and_goes_on(make, tmp_path, mnist_root):
    out = tmp_path / 'out'
    sizes = ('--smallest', SMALLEST, '--largest', LARGEST, '--data-root', mnist_root)
    process = subprocess.Popen(
        **python(TOOL, '--out', out, '--train', 1000, '--val', 0, '--test', 0, *sizes)
    )
    try:
        deadline = time.monotonic() + TIMEOUT
        while len(list(out.rglob('*.tif'))) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    assert process.returncode != 0, output
    found = sorted(out.rglob('*.tif'))
    assert 4 <= len(found) < 1000
    files = json.loads((out / 'train.json').read_text())['files']
    for path in found:
        assert tool.is_complete(
            path, tuple(files[path.relative_to(out / 'train').as_posix()]['size'])
        )


def test_other_settings_are_refused(made, make):
    before = held(made)
    with pytest.raises(
        SystemExit, match=r'val was made with other settings \(seed 0 there, 1 asked\); delete'
    ):
        make(made, val=10, seed=1)
    assert held(made) == before


@pytest.mark.parametrize('described', [None, '{', '3'])
def test_a_folder_of_other_origin_is_left_alone(make, tmp_path, described):
    (tmp_path / 'val').mkdir()
    (tmp_path / 'val' / '0001.tif').write_bytes(b'mine')
    if described:
        (tmp_path / 'val.json').write_text(described)
    before = held(tmp_path)
    with pytest.raises(SystemExit, match='choose another --out'):
        make(tmp_path, val=1)
    assert held(tmp_path) == before


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(), '--train, --val and --test are all 0, so there is nothing to make.'),
        (dict(val=1, smallest=700, largest=600), '--smallest is 700, more than --largest, 600.'),
        (
            dict(val=1, smallest=500),
            'argument --smallest: must be a whole number of at least 560, got 500.',
        ),
    ],
)
def test_a_bad_argument_is_named(make, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit):
        make(tmp_path / 'out', **options)
    assert capsys.readouterr().err.strip().endswith(f'error: {message}')
    assert not (tmp_path / 'out').exists()


def test_missing_digits_are_named(tmp_path):
    with pytest.raises(SystemExit, match='The MNIST file .* is missing; run'):
        tool.main([f'--out={tmp_path / "out"}', f'--data-root={tmp_path}', '--test=1', '--train=0'])
