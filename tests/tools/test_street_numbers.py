import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.dataset_converters.street_numbers import (
    SUBSETS,
    DigitBox,
    digit_struct_writer,
    fonts,
    make_street_number,
    number_length,
    scene,
    write_digit_struct,
)

subsets = pytest.mark.parametrize('subset', SUBSETS)
FIELDS = ('height', 'left', 'top', 'width', 'label')


@subsets
def test_a_picture_depends_on_seed_subset_and_index_alone(subset):
    first = make_street_number(3, subset, 7)
    make_street_number(3, subset, 8)
    again = make_street_number(3, subset, 7)
    assert np.array_equal(first.image, again.image) and first.boxes == again.boxes
    others = [(4, subset, 7), (3, subset, 8), (3, {'train': 'test'}.get(subset, 'train'), 7)]
    assert all(
        not np.array_equal(first.image, make_street_number(*other).image) for other in others
    )


@given(
    seed=st.integers(0, 2**32), subset=st.sampled_from(sorted(SUBSETS)), index=st.integers(0, 10**6)
)
@settings(max_examples=150, deadline=None)
def test_boxes_are_whole_inside_and_from_left_to_right(seed, subset, index):
    image, boxes = make_street_number(seed, subset, index)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert len(boxes) == number_length(seed, subset, index)
    lefts = [box.left for box in boxes]
    assert lefts == sorted(lefts)
    for box in boxes:
        assert all(float(value).is_integer() for value in box)
        assert box.left >= 0 and box.left + box.width <= image.shape[1]
        assert box.top >= 0 and box.top + box.height <= image.shape[0]
        assert box.width >= 1 and box.height >= 10 and box.label in range(1, 11)


@pytest.fixture
def bare(monkeypatch):
    """Gives one digit of a picture alone, white on black."""

    def digit(which, *arguments):
        def paint(rng, image, stamps, *rest):
            one = stamps[which]
            rows, columns = one.cover.shape
            for y, x in np.ndindex(rows, columns):
                if one.cover[y, x]:
                    image[one.top + y, one.left + x] = one.cover[y, x]

        monkeypatch.setattr(scene, 'paint_number', paint)
        return make_street_number(*arguments)

    monkeypatch.setattr(
        scene, 'paint_street', lambda rng, size, scale: np.zeros((*size, 3), np.float32)
    )
    monkeypatch.setattr(scene, 'paint_clutter', lambda *arguments: None)
    monkeypatch.setattr(scene, 'photograph', lambda rng, image, *rest: image)
    return digit


@subsets
def test_a_box_is_tight_around_its_digit(bare, subset):
    for index in range(4):
        for which in range(number_length(0, subset, index)):
            image, boxes = bare(which, 0, subset, index)
            rows, columns = np.nonzero(image[..., 0] >= image.max() / 2)
            height, left, top, width, _ = boxes[which]
            assert (columns.min(), columns.max() + 1) == (left, left + width)
            assert (rows.min(), rows.max() + 1) == (top, top + height)


@subsets
def test_any_200_images_hold_every_length_in_its_share(subset):
    lengths = [number_length(5, subset, index) for index in range(400)]
    for block in (lengths[:200], lengths[200:]):
        assert tuple(np.bincount(block, minlength=6)[1:]) == SUBSETS[subset].lengths
    assert lengths[:200] != lengths[200:]


def drawn_sizes(subset, count=20000):
    rng = np.random.default_rng(0)
    return np.array([scene._size(rng, SUBSETS[subset]) for _ in range(count)])


def test_test_images_are_mostly_small_and_at_times_very_large():
    heights, widths = drawn_sizes('test').T
    assert heights.max() <= 442 and widths.max() <= 1083
    assert 0.002 < (heights * widths > 363 * 735).mean() < 0.02  # SVHN: 100 of 13,068
    assert 0.3 < (heights < 54).mean() < 0.7
    assert 60 < heights.mean() < 85 and 140 < widths.mean() < 195


@pytest.mark.parametrize('subset', ['train', 'extra'])
def test_train_images_have_the_sizes_of_svhn(subset):
    heights, widths = drawn_sizes(subset).T
    assert heights.min() >= 25 and heights.max() <= 500
    assert 45 < heights.mean() < 70 and 90 < widths.mean() < 145


def test_train_numbers_fill_the_image_and_test_numbers_are_anywhere():
    fills, places = {}, {}
    for subset in ('train', 'test'):
        pictures = [make_street_number(1, subset, index) for index in range(150)]
        fills[subset] = np.array([boxes[0].height / image.shape[0] for image, boxes in pictures])
        places[subset] = np.array(
            [
                (boxes[0].left + boxes[-1].left + boxes[-1].width) / 2 / image.shape[1]
                for image, boxes in pictures
            ]
        )
    assert (fills['train'] > 0.4).mean() > 0.9
    assert (fills['test'] < 0.4).mean() > 0.2
    assert np.abs(places['train'] - 0.5).max() < 0.25
    assert places['test'].std() > 2 * places['train'].std()


def test_digits_of_test_images_fit_the_window_at_one_of_the_scales():
    heights = np.array(
        [box.height for index in range(200) for box in make_street_number(2, 'test', index).boxes]
    )
    assert (heights >= 14).all() and (heights <= 130).all()
    assert heights.max() > 54 and np.median(heights) < 36


@subsets
def test_digits_stand_off_from_what_is_around_them(monkeypatch, subset):
    seen = []
    stamp = scene.stamp
    monkeypatch.setattr(
        scene, 'stamp', lambda *arguments: seen.append(stamp(*arguments)) or seen[-1]
    )
    contrasts = []
    for index in range(100):
        image, _ = make_street_number(6, subset, index)
        luma = image.astype(float).mean(-1)
        for one in seen[-1]:
            rows, columns = one.cover.shape
            top, left = max(one.top, 0), max(one.left, 0)
            part = luma[top : one.top + rows, left : one.left + columns]
            cover = one.cover[top - one.top :, left - one.left :][: part.shape[0], : part.shape[1]]
            contrasts.append(
                abs(np.median(part[cover > 0.9 * cover.max()]) - np.median(part[cover < 0.1]))
            )
    assert np.mean(np.array(contrasts) > 15) > 0.97


@pytest.mark.parametrize(
    'font', [*map(fonts.TrueTypeFont, fonts.TRUETYPE), *fonts.STROKES], ids=str
)
def test_a_font_draws_ten_different_digits_of_the_asked_height(font):
    masks = [fonts.glyph(font, digit, 54).mask for digit in fonts.DIGITS]
    assert all(40 <= len(mask) <= 76 for mask in masks)  # some 4s reach below the line
    assert len({mask.tobytes() for mask in masks}) == 10


@pytest.mark.parametrize('name', fonts.TRUETYPE)
def test_a_truetype_font_has_the_letters(name):
    font = fonts.TrueTypeFont(name)
    assert len({fonts.glyph(font, letter, 54).mask.tobytes() for letter in fonts.LETTERS}) == len(
        fonts.LETTERS
    )


ONE = [DigitBox(30.0, 5.5, 4.0, 12.0, 10.0)]
TWO = [DigitBox(30.0, 5.0, 4.0, 12.0, 1.0), DigitBox(31.0, 19.0, 3.0, 14.0, 10.0)]


def written(path, names=('1.png', '23.png'), boxes=(ONE, TWO)):
    write_digit_struct(path, list(names), list(boxes))
    return h5py.File(path)


def attributes(node):
    return {
        name: (value.tobytes().decode() if isinstance(value, np.bytes_) else value.item())
        for name, value in node.attrs.items()
        if name not in ('MATLAB_fields', 'H5PATH')
    }


def fields(node):
    return tuple(letters.tobytes().decode() for letters in node.attrs['MATLAB_fields'])


def describe(file):
    """What the annotation file of the real images and a written one must have in common."""
    root = file['digitStruct']
    yield sorted(file), sorted(root), attributes(root), fields(root)
    for column in root.values():
        yield column.dtype, column.shape[1:], dict(column.attrs)
    empty = file['#refs#/a']
    yield empty.dtype, empty.shape, attributes(empty), empty[()].tolist()
    for name in root['name'][:, 0]:
        codes = file[name]
        yield codes.dtype, codes.shape[1:], attributes(codes), codes.attrs['H5PATH'].decode()
    for bbox in root['bbox'][:, 0]:
        group = file[bbox]
        yield sorted(group), attributes(group), fields(group), group.attrs['H5PATH'].decode()
        for values in group.values():
            yield values.dtype, values.shape, dict(values.attrs)
            for reference in values[:, 0] if values.dtype == object else ():
                value = file[reference]
                yield (
                    value.dtype,
                    value.shape,
                    attributes(value),
                    value.attrs['H5PATH'].decode(),
                    value[()].tolist(),
                )


def test_the_annotation_file_has_matlabs_structure(tmp_path):
    with written(tmp_path / 'digitStruct.mat') as file:
        assert sorted(file) == ['#refs#', 'digitStruct']
        root = file['digitStruct']
        assert attributes(root) == {'MATLAB_class': 'struct'}
        assert fields(root) == ('name', 'bbox')
        assert root['name'].shape == root['bbox'].shape == (2, 1)
        assert root['name'].dtype == root['bbox'].dtype == h5py.ref_dtype
        name = file[root['name'][1, 0]]
        assert name.dtype == np.uint16 and name.shape == (6, 1)
        assert ''.join(map(chr, name[:, 0])) == '23.png'
        assert attributes(name) == {'MATLAB_class': 'char', 'MATLAB_int_decode': 2}
        assert name.attrs['MATLAB_int_decode'].dtype == np.int32
        one, two = (file[reference] for reference in root['bbox'][:, 0])
        for group in (one, two):
            assert attributes(group) == {'MATLAB_class': 'struct'} and fields(group) == FIELDS
            assert group.attrs['H5PATH'].decode() == group.name
        for field, value in ONE[0]._asdict().items():
            assert one[field].dtype == np.float64 and one[field][()].tolist() == [[value]]
            assert attributes(one[field]) == {'MATLAB_class': 'double'}
            assert one[field].attrs['H5PATH'].decode() == one.name + one.name.split('/')[-1]
        for field, values in zip(FIELDS, zip(*TWO, strict=True), strict=False):
            assert two[field].dtype == h5py.ref_dtype and two[field].shape == (2, 1)
            held = [file[reference] for reference in two[field][:, 0]]
            assert [node[()].tolist() for node in held] == [[[value]] for value in values]
            assert all(
                node.dtype == np.float64 and attributes(node) == {'MATLAB_class': 'double'}
                for node in held
            )


def test_the_annotation_file_starts_with_matlabs_header(tmp_path):
    with written(tmp_path / 'digitStruct.mat') as file:
        assert file.userblock_size == 512
    header = (tmp_path / 'digitStruct.mat').read_bytes()[:520]
    assert header.startswith(b'MATLAB 7.3 MAT-file, Platform: ')
    assert header[:116].rstrip().endswith(b'HDF5 schema 1.00 .')
    assert header[116:128] == bytes(8) + b'\x00\x02IM'
    assert header[128:512] == bytes(384) and header[512:520] == b'\x89HDF\r\n\x1a\n'


def test_equal_annotations_are_equal_to_the_byte(tmp_path):
    for name in ('a.mat', 'b.mat'):
        written(tmp_path / name).close()
    assert (tmp_path / 'a.mat').read_bytes() == (tmp_path / 'b.mat').read_bytes()


def test_long_columns_are_written_outside_the_object_header(tmp_path, monkeypatch):
    monkeypatch.setattr(digit_struct_writer, '_COMPACT_BYTES', 64)
    names = [f'{number}.png' for number in range(1, 101)]
    with written(tmp_path / 'digitStruct.mat', names, [ONE, TWO] * 50) as file:
        column = file['digitStruct/name']
        assert column.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
        assert [''.join(map(chr, file[one][:, 0])) for one in column[:, 0]] == names


def test_images_without_digits_or_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match='got no digit for 2.png'):
        write_digit_struct(tmp_path / 'x.mat', ['1.png', '2.png'], [ONE, []])
    with pytest.raises(ValueError, match='got 1 names and 2 lists'):
        write_digit_struct(tmp_path / 'x.mat', ['1.png'], [ONE, TWO])
    assert not list(tmp_path.iterdir())


def annotation_files(folder):
    """One written here and, where SVHN_FRAGMENT names a fragment of SVHN, its own."""
    written(folder / 'own.mat', ['1.png', '2.png', '3.png'], [ONE, TWO, ONE]).close()
    yield folder / 'own.mat'
    if os.environ.get('SVHN_FRAGMENT'):
        yield Path(os.environ['SVHN_FRAGMENT'], 'train', 'digitStruct.mat')


def test_an_annotation_file_written_again_has_the_same_content(tmp_path):
    for path in annotation_files(tmp_path):
        with h5py.File(path) as original:
            root = original['digitStruct']
            names = [''.join(map(chr, original[name][:, 0])) for name in root['name'][:, 0]]
            boxes = []
            for group in (original[bbox] for bbox in root['bbox'][:, 0]):
                columns = [
                    [original[one][0, 0] for one in group[field][:, 0]]
                    if group[field].dtype == object
                    else group[field][:, 0]
                    for field in FIELDS
                ]
                boxes.append([DigitBox(*values) for values in zip(*columns, strict=True)])
            with written(tmp_path / 'digitStruct.mat', names, boxes) as file:
                assert list(describe(file)) == list(describe(original))
