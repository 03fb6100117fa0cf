import copy
import gc
import multiprocessing
import os
import pickle
import threading
import time

import numpy as np
import pytest
import tifffile
from PIL import Image

from mmdcn.sources import (
    ArraySource,
    ImageFileSource,
    SlideSource,
    TiffSource,
    Turn,
    Turned,
    cache,
    image_file,
    open_source,
)
from mmdcn.sources import source as source_module
from mmdcn.sources.source import MOST_OPEN

from .files import WINDOWS, noise, shrunk, window

H, W = 131, 157
KINDS = {'.npy': ArraySource, '.tif': TiffSource, '.png': ImageFileSource, 'slide': SlideSource}


def written(folder, kind, image):
    """Write RGB in a format, and open it."""
    path = folder / f'image{kind}'
    if kind == '.npy':
        np.save(path, image[..., ::-1])
    elif kind == '.png':
        Image.fromarray(image).save(path)
    else:
        tifffile.imwrite(path, image, tile=(32, 48), photometric='rgb', compression='zlib')
    return KINDS[kind](path)


def handles():
    return len(os.listdir('/proc/self/fd'))


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def test_each_source_gives_blue_green_red_with_zeros_outside(kind, tmp_path):
    image = noise(H, W, 3)
    source = written(tmp_path, kind, image)
    assert (source.size, source.channels, source.dtype) == ((H, W), 3, np.uint8)
    for place in WINDOWS:
        found = source.window(*place)
        assert found.flags.c_contiguous and found.dtype == np.uint8
        np.testing.assert_array_equal(found, window(image[..., ::-1], *place))
    for scale in (1, 1 / 4, 0.3):
        overview = source.overview(scale)
        assert overview.flags.c_contiguous and overview.dtype == np.float32
        np.testing.assert_array_equal(overview, shrunk(image[..., ::-1], scale))


def test_a_scale_that_leaves_nothing_or_enlarges_is_an_error(kind, tmp_path):
    source = written(tmp_path, kind, noise(H, W, 3))
    with pytest.raises(ValueError, match='Of an image of 131×157 pixels nothing is left at a sc'):
        source.overview(0.001)
    for scale in (0, -1, 1.5, float('nan')):
        with pytest.raises(ValueError, match=r'must be within \(0, 1\], got'):
            source.overview(scale)


def test_a_source_is_copied_and_pickled_without_its_file(kind, tmp_path):
    image = noise(H, W, 3)
    source = written(tmp_path, kind, image)
    source.window(0, 0, 3, 3)
    assert len(pickle.dumps(source)) < 1000
    before = handles()
    others = [copy.deepcopy(source), pickle.loads(pickle.dumps(source))]
    assert handles() == before
    for other in others:
        assert type(other) is type(source) and repr(other) == repr(source)
        np.testing.assert_array_equal(other.window(9, 8, 7, 6), image[9:16, 8:14, ::-1])
    assert not hasattr(source, 'to')


def test_a_file_that_changed_is_an_error_in_the_source_and_its_copies(kind, tmp_path):
    source = written(tmp_path, kind, noise(H, W, 3))
    copied = pickle.dumps(source)
    written(tmp_path, kind, noise(H, W + 1, 3))
    os.utime(source.path, ns=(1, 1))
    for same in (source, pickle.loads(copied)):
        for read in (lambda: same.window(0, 0, 3, 3), lambda: same.overview(0.5)):  # noqa: B023
            with pytest.raises(ValueError, match='has changed since it was opened: open it again'):
                read()
    os.remove(source.path)
    with pytest.raises(FileNotFoundError, match=f'The image {source.path} is missing'):
        source.window(0, 0, 3, 3)


def read_all(source, image, answers):
    try:
        same = all(
            np.array_equal(source.window(*place), window(image[..., ::-1], *place))
            for place in WINDOWS * 5
        )
        answers.put(same and np.array_equal(source.overview(0.5), shrunk(image[..., ::-1], 0.5)))
    except Exception as error:
        answers.put(repr(error))


def test_forked_processes_read_at_once_what_the_parent_had_open(kind, tmp_path):
    image = noise(H, W, 3)
    source = written(tmp_path, kind, image)
    source.window(0, 0, H, W)
    source._reader()
    reader = source._opened[1]
    fork = multiprocessing.get_context('fork')
    answers = fork.SimpleQueue()
    children = [
        fork.Process(target=read_all, args=(source, image, answers), daemon=True) for _ in range(3)
    ]
    for child in children:
        child.start()
    for place in WINDOWS * 5:
        np.testing.assert_array_equal(source.window(*place), window(image[..., ::-1], *place))
    assert [answers.get() for _ in children] == [True] * 3
    for child in children:
        child.join(30)
    assert source._opened[1] is reader


def test_thousands_of_sources_leave_no_file_open(tmp_path):
    images = {kind: written(tmp_path, kind, noise(40, 50, 3)).path for kind in KINDS}
    before = handles()
    for kind, path in images.items():
        for _ in range(1000 if kind == '.tif' else 250):
            KINDS[kind](path).window(0, 0, 3, 3)
            assert handles() <= before + 3
    gc.collect()
    assert handles() <= before


def test_sources_that_live_on_keep_few_files_open(tmp_path):
    image = noise(40, 50, 3)
    path = written(tmp_path, '.tif', image).path
    before = handles()
    sources = [TiffSource(path) for _ in range(MOST_OPEN * 3)]
    assert handles() <= before + MOST_OPEN
    for source in sources:
        np.testing.assert_array_equal(source.window(3, 4, 5, 6), image[3:8, 4:10, ::-1])
    assert handles() <= before + MOST_OPEN


def test_threads_open_and_read_one_source_at_once(kind, tmp_path):
    image = noise(H, W, 3)
    source = pickle.loads(pickle.dumps(written(tmp_path, kind, image)))
    wrong = []

    def read():
        for place in WINDOWS * 3:
            if not np.array_equal(source.window(*place), window(image[..., ::-1], *place)):
                wrong.append(place)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='The image .*none.tif is missing'):
        open_source(tmp_path / 'none.tif')
    with pytest.raises(ValueError, match='is a folder: pass one file'):
        open_source(tmp_path)


# Overviews that are kept


@pytest.fixture
def reads(monkeypatch):
    """Count how often an overview is computed."""
    made, given = [], source_module._shrunk
    monkeypatch.setattr(source_module, '_shrunk', lambda *args: made.append(args) or given(*args))
    return made


@pytest.mark.parametrize('beside', [True, False])
def test_a_kept_overview_is_made_once_for_each_scale(beside, tmp_path, reads):
    image = noise(H, W, 3)
    path = written(tmp_path, '.tif', image).path
    cache = True if beside else tmp_path / 'kept' / 'here'
    for _ in range(2):
        for scale in (0.5, 0.25):
            overview = open_source(path, cache=cache).overview(scale)
            assert overview.flags.c_contiguous
            np.testing.assert_array_equal(overview, shrunk(image[..., ::-1], scale))
    assert len(reads) == 2
    folder = tmp_path if beside else cache
    kept = [file for file in folder.iterdir() if file.suffix == '.overview']
    assert sorted(np.load(file).shape for file in kept) == [(32, 39, 3), (65, 78, 3)]
    assert all(file.name.startswith('image.tif.') for file in kept)


def test_images_of_one_name_are_kept_apart(tmp_path):
    for seed, folder in enumerate('ab'):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder, '.npy', noise(H, W, 3, seed=seed))
    for _ in range(2):
        for seed, folder in enumerate('ab'):
            source = open_source(tmp_path / folder / 'image.npy', cache=tmp_path / 'kept')
            np.testing.assert_array_equal(
                source.overview(0.5), shrunk(noise(H, W, 3, seed=seed)[..., ::-1], 0.5)
            )


def test_an_overview_of_a_file_that_changed_is_made_anew(tmp_path, reads):
    source = written(tmp_path, '.tif', noise(H, W, 3))
    open_source(source.path, cache=True).overview(0.5)
    time.sleep(0.02)
    other = noise(H, W, 3, seed=1)
    written(tmp_path, '.tif', other)
    for _ in range(2):
        np.testing.assert_array_equal(
            open_source(source.path, cache=True).overview(0.5), shrunk(other[..., ::-1], 0.5)
        )
    assert len(reads) == 2


@pytest.mark.parametrize('broken', [b'', b'\x93NUMPY', 'cut', 'other', 'folder'])
def test_a_broken_kept_overview_is_made_anew(broken, tmp_path, reads):
    image = noise(H, W, 3)
    path = written(tmp_path, '.tif', image).path
    open_source(path, cache=True).overview(0.5)
    (kept,) = tmp_path.glob('*.overview')
    whole = kept.read_bytes()
    if broken == 'cut':
        broken = whole[:-3]
    elif broken == 'other':
        broken = whole.replace(b'<f4', b'<i4')
    if broken == 'folder':
        kept.unlink()
        kept.mkdir()
    else:
        kept.write_bytes(broken)
    np.testing.assert_array_equal(
        open_source(path, cache=True).overview(0.5), shrunk(image[..., ::-1], 0.5)
    )
    assert len(reads) == 2
    assert kept.is_dir() or kept.read_bytes() == whole


@pytest.fixture
def logged(monkeypatch):
    lines: list[str] = []
    for module in (cache, image_file):
        monkeypatch.setattr(module, 'print_log', lambda line, **_: lines.append(line))
        monkeypatch.setattr(module, '_said', False)
    return lines


def test_a_full_disk_is_said_once_and_leaves_nothing_half_written(tmp_path, logged, monkeypatch):
    image = noise(H, W, 3)
    path = written(tmp_path, '.tif', image).path

    def full(file, array):
        file.write(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(np, 'save', full)
    for scale in (0.5, 0.25):
        overview = open_source(path, cache=tmp_path / 'kept').overview(scale)
        np.testing.assert_array_equal(overview, shrunk(image[..., ::-1], scale))
    assert len(logged) == 1 and 'No space left on device' in logged[0]
    assert not list((tmp_path / 'kept').iterdir())


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path, logged):
    image = noise(H, W, 3)
    path = written(tmp_path, '.tif', image).path
    for scale in (0.5, 0.25):
        overview = open_source(path, cache='/proc/none').overview(scale)
        np.testing.assert_array_equal(overview, shrunk(image[..., ::-1], scale))
    assert len(logged) == 1 and 'Overviews cannot be kept in /proc/none' in logged[0]


def test_windows_of_a_file_that_is_decoded_whole_say_once_what_they_cost(tmp_path, logged):
    for _ in range(2):
        source = written(tmp_path, '.png', noise(H, W, 3))
        source.overview(0.5)
        source.window(0, 0, 3, 3)
    assert len(logged) == 1
    assert '`vips tiffsave FILE out.tif --tile --pyramid --compression jpeg`' in logged[0]


# Turned sources

TURNS = [Turn(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)]


def by_numpy(image, turn):
    if turn.transpose:
        image = image.transpose(1, 0, 2)
    if turn.flip_rows:
        image = np.flipud(image)
    return np.fliplr(image) if turn.flip_columns else image


@pytest.mark.parametrize('turn', TURNS)
def test_a_turned_source_is_the_turned_image(turn, tmp_path):
    image = noise(H, W, 3)
    plain = written(tmp_path, '.tif', image)
    source = pickle.loads(pickle.dumps(Turned(plain, turn)))
    whole = by_numpy(image[..., ::-1], turn)
    assert source.size == turn.size((H, W)) == whole.shape[:2]
    assert (source.path, source.channels, source.dtype) == (plain.path, 3, np.uint8)
    for place in WINDOWS:
        found = source.window(*place)
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, window(whole, *place))
    overview = source.overview(0.25)
    assert overview.flags.c_contiguous
    np.testing.assert_array_equal(overview, by_numpy(plain.overview(0.25), turn))


@pytest.mark.parametrize('first', TURNS)
@pytest.mark.parametrize('second', TURNS)
def test_a_turn_of_a_turn_is_one_turn(first, second, tmp_path):
    np.save(tmp_path / 'a.npy', noise(6, 9, 2))
    image, source = noise(6, 9, 2), ArraySource(tmp_path / 'a.npy')
    twice = Turned(Turned(source, first), second)
    assert twice.source is source and twice.turn == first.then(second)
    np.testing.assert_array_equal(
        twice.window(0, 0, *twice.size), by_numpy(by_numpy(image, first), second)
    )
    assert first.then(first.inverse()) == Turn()


@pytest.mark.parametrize('turn', TURNS)
def test_boxes_turn_with_the_pixels_that_they_hold_and_back(turn):
    image, boxes = noise(20, 30, 1), np.array([[2, 3, 9, 5], [0, 0, 30, 20], [29, 1, 30, 20]])
    whole, turned = by_numpy(image, turn), turn.boxes(boxes, (20, 30))
    for (x1, y1, x2, y2), (a1, b1, a2, b2) in zip(boxes, turned, strict=True):
        np.testing.assert_array_equal(by_numpy(image[y1:y2, x1:x2], turn), whole[b1:b2, a1:a2])
    np.testing.assert_array_equal(turn.back(turned, (20, 30)), boxes)
    np.testing.assert_allclose(turn.back(turn.boxes(boxes + 0.5, (20, 30)), (20, 30)), boxes + 0.5)
    assert turn.boxes(np.zeros((0, 4)), (20, 30)).shape == (0, 4)


def test_turns_have_the_names_of_mmcv_and_the_numbers_of_numpy():
    image = noise(5, 7, 1)
    for number in range(-1, 5):
        np.testing.assert_array_equal(Turn.quarters(number).array(image), np.rot90(image, number))
    np.testing.assert_array_equal(Turn.flip('horizontal').array(image), image[:, ::-1])
    np.testing.assert_array_equal(Turn.flip('vertical').array(image), image[::-1])
    np.testing.assert_array_equal(Turn.flip('diagonal').array(image), image[::-1, ::-1])
    with pytest.raises(ValueError, match="horizontal, vertical, diagonal, got 'up'"):
        Turn.flip('up')
