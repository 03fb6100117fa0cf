import json
import signal
import subprocess
import time

import cv2
import h5py
import numpy as np
import pytest

from tools.dataset_converters import make_street_numbers as tool
from tools.dataset_converters.street_numbers import make_street_number
from tools.visualizations import contact_sheet

from ..conftest import ROOT
from .running import TIMEOUT, python

TOOL = ROOT / 'tools' / 'dataset_converters' / 'make_street_numbers.py'


@pytest.fixture
def make():
    def run(out, train=0, extra=0, test=0, seed=0, workers=1):
        counts = dict(train=train, extra=extra, test=test, seed=seed, workers=workers)
        options = [f'--{name}={value}' for name, value in counts.items()]
        tool.main([f'--out={out}', *options])

    return run


def held(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def test_the_files_are_those_of_the_full_numbers_layout(make, tmp_path):
    make(tmp_path, train=3, extra=2, test=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['extra', 'test', 'train']
    for subset, count in dict(train=3, extra=2, test=4).items():
        names = [f'{number}.png' for number in range(1, count + 1)]
        assert sorted(path.name for path in (tmp_path / subset).iterdir()) == sorted(
            [*names, 'digitStruct.mat', 'settings.json']
        )
        with h5py.File(tmp_path / subset / 'digitStruct.mat') as file:
            written = [
                ''.join(map(chr, file[name][:, 0])) for name in file['digitStruct/name'][:, 0]
            ]
            digits = [len(file[bbox]['label']) for bbox in file['digitStruct/bbox'][:, 0]]
        assert written == names
        for index, name in enumerate(names):
            image, boxes = make_street_number(0, subset, index)
            stored = cv2.imread(str(tmp_path / subset / name), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(stored[..., ::-1], image)
            assert digits[index] == len(boxes)


@pytest.fixture(scope='module')
def interrupted(tmp_path_factory):
    """The folder of a run with several workers, interrupted in its second subset."""
    out = tmp_path_factory.mktemp('interrupted')
    process = subprocess.Popen(
        **python(TOOL, '--out', out, '--train', 36, '--extra', 0, '--test', 100000, '--workers', 3)
    )
    try:
        deadline = time.monotonic() + TIMEOUT
        while not list(out.glob('.test.part/*.png')) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(out.glob('.test.part/*.png')), 'No image was made.'
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    assert process.returncode != 0, output
    return out


def test_an_interrupted_run_ends_and_leaves_complete_subsets_alone(interrupted):
    assert [path.name for path in interrupted.iterdir()] == ['train']


def test_the_number_of_workers_changes_nothing(make, interrupted, tmp_path):
    make(tmp_path, train=36, workers=1)
    assert held(tmp_path) == held(interrupted)


def test_more_images_leave_the_first_ones_as_they_are(make, tmp_path):
    make(tmp_path / 'few', test=3)
    make(tmp_path / 'more', test=6)
    few, more = (held(tmp_path / name / 'test') for name in ('few', 'more'))
    assert all(few[f'{number}.png'] == more[f'{number}.png'] for number in (1, 2, 3))


def test_a_complete_subset_is_kept(make, tmp_path, monkeypatch, capsys):
    make(tmp_path, train=2)
    monkeypatch.setattr(tool, 'make_subset', None)  # calling it would fail
    make(tmp_path, train=2)
    assert f'{tmp_path / "train"} is complete: 2 images, kept.' in capsys.readouterr().err


def test_other_settings_are_refused_before_anything_is_made(make, tmp_path):
    make(tmp_path, test=2)
    before = held(tmp_path)
    with pytest.raises(
        SystemExit,
        match=r'test was made with other settings \(seed 0 there, '
        r'1 asked\); delete that folder, choose another --out',
    ):
        make(tmp_path, train=2, test=2, seed=1)
    assert held(tmp_path) == before


@pytest.mark.parametrize('settings', [None, '{'])
def test_a_folder_of_other_origin_is_left_alone(make, tmp_path, settings):
    (tmp_path / 'train').mkdir()
    (tmp_path / 'train' / '1.png').write_bytes(b'mine')
    if settings:
        (tmp_path / 'train' / 'settings.json').write_text(settings)
    with pytest.raises(SystemExit, match='train exists but was not made by this tool'):
        make(tmp_path, train=2)
    assert held(tmp_path / 'train')['1.png'] == b'mine'


@pytest.mark.parametrize('stop', [KeyboardInterrupt(), OSError(28, 'No space left on device')])
def test_a_run_that_is_stopped_leaves_nothing_half_made(make, tmp_path, monkeypatch, stop):
    make(tmp_path, train=2)

    def stopped(path, names, boxes):
        path.write_bytes(b'half')
        raise stop

    monkeypatch.setattr(tool, 'write_digit_struct', stopped)
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        make(tmp_path, train=2, test=3)
    assert [path.name for path in tmp_path.iterdir()] == ['train']


def test_what_a_killed_run_left_is_cleared(make, tmp_path):
    (tmp_path / '.test.part').mkdir()
    (tmp_path / '.test.part' / '99.png').write_bytes(b'half')
    make(tmp_path, test=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['test']
    assert not (tmp_path / 'test' / '99.png').exists()


def test_settings_say_what_was_made(make, tmp_path):
    make(tmp_path, extra=1, seed=9)
    settings = json.loads((tmp_path / 'extra' / 'settings.json').read_text())
    assert settings.pop('renderer') >= 1
    assert settings == dict(subset='extra', images=1, seed=9)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(train=-1), 'argument --train: must be a whole number of at least 0, got -1.'),
        (dict(test=1, seed=-2), 'argument --seed: must be a whole number of at least 0, got -2.'),
        (
            dict(test=1, workers=0),
            'argument --workers: must be a whole number of at least 1, got 0.',
        ),
        (dict(), '--train, --extra and --test are all 0, so there is nothing to make.'),
    ],
)
def test_a_bad_argument_is_named(make, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit):
        make(tmp_path / 'out', **options)
    assert capsys.readouterr().err.strip().endswith(f'error: {message}')
    assert not (tmp_path / 'out').exists()


def test_an_out_that_is_a_file_is_refused(make, tmp_path, capsys):
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(SystemExit):
        make(tmp_path / 'file', test=1)
    assert f'--out must be a folder, but {tmp_path / "file"} is a file.' in capsys.readouterr().err


def test_the_contact_sheet_shows_the_asked_images_in_order(tmp_path):
    colours = {}
    for folder, count in (('real', 1), ('made', 12)):
        (tmp_path / folder).mkdir()
        for number in range(1, count + 1):
            colour = (10 * number, 0, 200 if folder == 'real' else 0)
            colours[folder, number] = colour
            cv2.imwrite(
                str(tmp_path / folder / f'{number}.png'), np.full((20, 40, 3), colour, np.uint8)
            )
    out = tmp_path / 'sheets' / 'sheet.png'
    contact_sheet.main(
        [
            str(tmp_path / 'made'),
            '--out',
            str(out),
            '--num',
            '11',
            '--real',
            str(tmp_path / 'real'),
            '--height',
            '10',
            '--width',
            '100',
        ]
    )
    sheet = cv2.imread(str(out))
    assert sheet.shape == (14 + 6 + 14 * 3, 100, 3)  # rows of 4 images of 20 columns
    assert tuple(sheet[9, 9]) == colours['real', 1]
    found = [
        tuple(sheet[20 + 14 * row + 9, 4 + 24 * column + 5])
        for row in range(3)
        for column in range(4)
    ]
    assert found == [*(colours['made', number] for number in range(1, 12)), (255, 255, 255)]


def test_a_contact_sheet_of_nothing_is_refused(tmp_path):
    with pytest.raises(SystemExit, match=f'{tmp_path} holds no image 1.png, 2.png, ...'):
        contact_sheet.main([str(tmp_path), '--out', str(tmp_path / 'x.png')])
