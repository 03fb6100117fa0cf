import os
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdcn.datasets import digit_struct
from mmdcn.datasets.digit_struct import DigitStructError, load_digit_struct, read_digit_struct

from .digit_structs import number, write_digit_struct

NUMBERS = {
    '1.png': number('19', 246, 77, 81, 219),
    '2.png': number('3'),
    '10.png': number('205', -2, -1.5),
    'long_name.png': number('012345'),
}

# The fragment of SVHN's training split, where the variable names its folder.
REAL = [Path(os.environ['SVHN_FRAGMENT'])] if os.environ.get('SVHN_FRAGMENT') else []


def held(struct):
    """Name -> digits as (label, left, top, width, height), label 10 for digit 0."""
    found = {}
    for place, name in enumerate(struct.names):
        span = slice(struct.offsets[place], struct.offsets[place + 1])
        found[name.decode()] = [
            (label or 10, *box)
            for label, box in zip(
                struct.labels[span].tolist(), struct.boxes[span].tolist(), strict=True
            )
        ]
    return found


def slowly_read(path):
    """The same by h5py's plain interface."""
    found = {}
    with h5py.File(path) as file:
        struct = file['digitStruct']
        for name, bbox in zip(struct['name'][:, 0], struct['bbox'][:, 0], strict=True):
            fields = []
            for key in ('label', 'left', 'top', 'width', 'height'):
                field = file[bbox][key]
                fields.append(
                    [file[ref][0, 0] for ref in field[:, 0]]
                    if field.dtype == h5py.ref_dtype
                    else [field[0, 0]]
                )
            found[''.join(map(chr, file[name][:, 0]))] = list(zip(*fields, strict=True))
    return found


@pytest.fixture
def made(tmp_path):
    return write_digit_struct(tmp_path / 'digitStruct.mat', NUMBERS)


@pytest.fixture(params=['written', *REAL], ids=str)
def path(request, tmp_path):
    """A written file, and the real one where there is one."""
    target = tmp_path / 'digitStruct.mat'
    if request.param == 'written':
        return write_digit_struct(target, NUMBERS)
    target.write_bytes((request.param / 'train' / 'digitStruct.mat').read_bytes())
    return target


def test_names_digits_and_boxes_are_those_of_the_file(path):
    struct = load_digit_struct(str(path))
    assert held(struct) == slowly_read(path)
    assert struct.labels.dtype == np.uint8 and struct.labels.max() <= 9
    assert struct.boxes.dtype == np.float32


def test_what_was_written_is_read(made):
    assert held(read_digit_struct(str(made))) == NUMBERS


@pytest.mark.parametrize('root', REAL or ['written'], ids=str)
def test_the_first_training_image_shows_19(root, made):
    path = made if root == 'written' else root / 'train' / 'digitStruct.mat'
    struct = read_digit_struct(str(path))
    assert struct.names[0] == b'1.png' and struct.labels[:2].tolist() == [1, 9]
    if root != 'written':
        assert len(struct) == 39
        assert struct.boxes[:2].tolist() == [[246, 77, 81, 219], [323, 81, 96, 219]]


@given(
    st.dictionaries(
        st.integers(0, 10**6).map('{}.png'.format),
        st.lists(
            st.tuples(st.integers(1, 10), *[st.integers(-50, 5000).map(float)] * 4),
            min_size=1,
            max_size=8,
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=25, deadline=None)
def test_any_file_of_this_layout_is_read_back(tmp_path_factory, numbers):
    path = write_digit_struct(tmp_path_factory.mktemp('any') / 'digitStruct.mat', numbers)
    assert held(read_digit_struct(str(path))) == numbers


def outcome(path):
    """How reading ends, in a child process, since libhdf5 itself may crash or hang on it."""
    child = os.fork()
    if not child:
        signal.alarm(30)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1), os.dup2(silence, 2)
        try:
            held(read_digit_struct(str(path)))
            os._exit(0)
        except DigitStructError:
            os._exit(1)
        except BaseException:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture(scope='module')
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp('sound') / 'digitStruct.mat'
    return write_digit_struct(path, NUMBERS).read_bytes()


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_mutated_bytes_are_read_or_refused_in_one_way(tmp_path_factory, sound, changes):
    used = np.flatnonzero(np.frombuffer(sound, np.uint8))  # most of the file is room
    content = bytearray(sound)
    for place, value in changes:
        content[used[int(place * (len(used) - 1))]] = value
    path = tmp_path_factory.mktemp('mutated') / 'digitStruct.mat'
    path.write_bytes(content)
    assert outcome(path) in (0, 1)


@pytest.mark.parametrize('share', [0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_refused_in_one_sentence(tmp_path, sound, share):
    path = tmp_path / 'digitStruct.mat'
    path.write_bytes(sound[: int(share * len(sound))])
    with pytest.raises(
        DigitStructError,
        match=f'^{path} is cut or corrupt, or not the '
        r'digitStruct.mat of SVHN \([^\n]*\); extract it '
        r'again from [^\n]*full numbers\.$',
    ):
        load_digit_struct(str(path))
    assert os.listdir(tmp_path) == ['digitStruct.mat']


def test_the_cropped_digits_are_named(tmp_path):
    path = tmp_path / 'digitStruct.mat'
    header = b'MATLAB 5.0 MAT-file, Platform: GLNXA64'.ljust(124) + b'\x00\x01IM'
    path.write_bytes(header + bytes(99))
    with pytest.raises(
        DigitStructError,
        match=f'{path} is of the MATLAB v5 format, such as the '
        'cropped digits .*, but the full numbers are',
    ):
        load_digit_struct(str(path))


def test_a_missing_file_is_named_with_the_tool_that_makes_it(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=f'The SVHN file {tmp_path}/digitStruct.mat is missing; run `python .*prepare_svhn.py',
    ):
        load_digit_struct(str(tmp_path / 'digitStruct.mat'))


def harmed_struct(file):
    del file['digitStruct']
    file['other'] = 1


def harmed_names(file):
    del file['digitStruct/name']


def harmed_lengths(file):
    refs = file['digitStruct/name'][:2]
    del file['digitStruct/name']
    file['digitStruct'].create_dataset('name', data=refs, dtype=h5py.ref_dtype)


def harmed_kind(file):
    del file['digitStruct/name']
    file['digitStruct/name'] = np.zeros((4, 1))


def harmed_null(file):
    file['digitStruct/bbox'][0, 0] = h5py.Reference()


def harmed_turned(file):
    file['digitStruct/bbox'][0, 0] = file['digitStruct/name'][0, 0]


def first(file, field):
    box = file[file['digitStruct/bbox'][1, 0]]
    return box[field]


def harmed_label(file):
    first(file, 'label')[0, 0] = 11


def harmed_fraction(file):
    first(file, 'label')[0, 0] = 1.5


def harmed_box(file):
    first(file, 'left')[0, 0] = np.nan


def harmed_huge(file):
    box = file[file['digitStruct/bbox'][1, 0]]
    del box['left']
    box.create_dataset('left', (2**50, 1), np.float64)


def harmed_unequal(file):
    box, other = (file[file['digitStruct/bbox'][place, 0]] for place in (1, 0))
    del box['left']
    box['left'] = other['left']


def harmed_folder(file):
    name = file[file['digitStruct/name'][1, 0]]
    name[:, 0] = [ord(letter) for letter in '../..']


def harmed_twice(file):
    file['digitStruct/name'][0, 0] = file['digitStruct/name'][1, 0]


@pytest.mark.parametrize(
    'harm, what',
    [
        (harmed_struct, 'it holds no struct digitStruct'),
        (harmed_names, 'name is missing'),
        (harmed_lengths, 'it has 2 names but 4 bboxes'),
        (harmed_kind, 'name holds no references'),
        (harmed_null, 'a reference leads nowhere'),
        (harmed_turned, 'a reference leads nowhere or to another kind'),
        (harmed_label, 'it has the label 11, but labels are 1 to 10'),
        (harmed_fraction, 'it has the label 1.5, but labels are 1 to 10'),
        (harmed_box, 'it has a box outside of any image'),
        (harmed_huge, r'left of 2.png has the shape \(1125899906842624, 1\)'),
        (harmed_unequal, 'the fields of 2.png differ in length'),
        (harmed_folder, "'../..' is not the name of an image"),
        (harmed_twice, 'an image is listed twice'),
    ],
)
def test_a_file_of_another_layout_is_refused_with_what_is_wrong(made, harm, what):
    with h5py.File(made, 'r+') as file:
        harm(file)
    with pytest.raises(DigitStructError, match=rf'{made} is cut .*\({what}.*\); extract it again'):
        load_digit_struct(str(made))


@pytest.fixture
def parses(monkeypatch):
    """The files that were parsed."""
    parsed, parse = [], digit_struct._parse
    monkeypatch.setattr(digit_struct, '_parse', lambda path: parsed.append(path) or parse(path))
    return parsed


def test_a_file_is_parsed_once(path, parses):
    one, other = load_digit_struct(str(path)), load_digit_struct(str(path))
    assert parses == [str(path)] and held(one) == held(other)
    assert sorted(os.listdir(path.parent)) == ['digitStruct.mat', 'digitStruct.mat.index.npz']


def test_a_changed_file_is_parsed_again(made, parses):
    load_digit_struct(str(made))
    write_digit_struct(made, {'7.png': number('7')})
    assert held(load_digit_struct(str(made))) == {'7.png': number('7')}
    assert len(parses) == 2


def test_an_index_of_an_older_layout_is_made_again(made, parses, monkeypatch):
    load_digit_struct(str(made))
    monkeypatch.setattr(digit_struct, '_LAYOUT', digit_struct._LAYOUT + 1)
    for _ in range(2):
        assert held(load_digit_struct(str(made))) == NUMBERS
    assert len(parses) == 2


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=20),
    st.floats(0.2, 1),
)
@settings(max_examples=60, deadline=None)
def test_a_broken_index_never_changes_what_is_read(tmp_path_factory, sound, changes, share):
    path = tmp_path_factory.mktemp('broken') / 'digitStruct.mat'
    path.write_bytes(sound)
    load_digit_struct(str(path))
    index = path.with_name(path.name + digit_struct.INDEX_SUFFIX)
    content = bytearray(index.read_bytes())
    for place, value in changes:
        content[int(place * (len(content) - 1))] = value
    index.write_bytes(content[: int(share * len(content))])
    assert held(load_digit_struct(str(path))) == NUMBERS


def test_where_no_index_can_be_kept_it_works_and_says_so(made, parses, monkeypatch):
    index = made.with_name(made.name + digit_struct.INDEX_SUFFIX)
    index.mkdir()  # a file can't take its place
    said = []
    monkeypatch.setattr(digit_struct, 'print_log', lambda text, **kwargs: said.append(text))
    for _ in range(2):
        assert held(load_digit_struct(str(made))) == NUMBERS
    assert len(parses) == len(said) == 2
    assert all(f'The index of {made} could not be kept (' in text for text in said)
    assert sorted(os.listdir(made.parent)) == ['digitStruct.mat', 'digitStruct.mat.index.npz']
