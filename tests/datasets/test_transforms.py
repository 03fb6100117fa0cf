from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmdcn.datasets import LoadGrayscale, UpscaleToCover
from mmdcn.datasets.transforms import loading

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (9, 12, 3), np.uint8)
GREYS = COLOURS[..., 0]
ALPHA = RNG.integers(0, 256, (9, 12), np.uint8)


def load(path):
    results = LoadGrayscale()(dict(img_path=str(path)))
    assert results['img'].dtype == np.uint8
    assert results['img_shape'] == results['ori_shape'] == results['img'].shape
    return results['img'].astype(float)


def luminance(colours):
    """ITU-R 601-2."""
    return colours.astype(float) @ [0.299, 0.587, 0.114]


def saved(tmp_path, image, suffix='.png', **options):
    path = tmp_path / f'image{suffix}'
    image.save(path, **options)
    return path


def close(found, expected, by=1.01):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= by


def test_grey_images_load_unchanged(tmp_path):
    assert np.array_equal(load(saved(tmp_path, Image.fromarray(GREYS))), GREYS)


def test_one_bit_images_become_black_and_white(tmp_path):
    bits = GREYS > 99
    assert np.array_equal(load(saved(tmp_path, Image.fromarray(bits))), bits * 255)


def test_colours_become_luminance(tmp_path):
    close(load(saved(tmp_path, Image.fromarray(COLOURS))), luminance(COLOURS))


def test_a_palette_is_looked_up(tmp_path):
    image = Image.fromarray(GREYS % 4, 'P')
    palette = COLOURS[0, :4]
    image.putpalette(palette.tobytes())
    close(load(saved(tmp_path, image)), luminance(palette[GREYS % 4]))


@pytest.mark.parametrize('mode', ['RGBA', 'LA'])
def test_alpha_is_composited_over_black(tmp_path, mode):
    colours = COLOURS if mode == 'RGBA' else GREYS[..., None]
    image = Image.fromarray(np.concatenate([colours, ALPHA[..., None]], axis=-1), mode)
    seen = (luminance(COLOURS) if mode == 'RGBA' else GREYS) * (ALPHA / 255)
    close(load(saved(tmp_path, image)), seen, by=1.6)


def test_a_transparent_colour_of_a_palette_is_black(tmp_path):
    image = Image.fromarray(GREYS % 2, 'P')
    image.putpalette([200, 200, 200, 90, 90, 90])
    path = saved(tmp_path, image, transparency=0)
    assert np.array_equal(load(path), np.where(GREYS % 2, 90, 0))


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, suffix):
    wide = RNG.integers(0, 65536, (9, 12)).astype(np.uint16)
    wide[0, :3] = 0, 65535, 32896
    found = load(saved(tmp_path, Image.fromarray(wide), suffix))
    close(found, wide / 257, by=0.501)
    assert found[0, :3].tolist() == [0, 255, 128]


def test_sixteen_bit_colours_are_scaled_not_clipped(tmp_path):
    import cv2

    wide = RNG.integers(0, 65536, (9, 12, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / 'image.png'), wide[..., ::-1])
    close(load(tmp_path / 'image.png'), luminance(wide) / 257, by=2)


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
def test_jpeg_of_every_mode_loads(tmp_path, mode):
    smooth = np.add.outer(np.arange(32) * 3, np.arange(48) * 2).astype(np.uint8)
    image = Image.fromarray(np.stack([smooth, smooth // 2, 255 - smooth], axis=-1))
    expected = luminance(np.asarray(image.convert('L').convert('RGB') if mode == 'L' else image))
    found = load(saved(tmp_path, image.convert(mode), '.jpg', quality=95))
    close(found, expected, by=8)


def test_an_image_lying_on_its_side_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    path = saved(tmp_path, Image.fromarray(GREYS), exif=exif)
    assert np.array_equal(load(path), np.rot90(GREYS, -1))


# EXIF's orientations, and how to turn what is stored into what is shown.
TURNS = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).T,
    8: np.rot90,
}
# Images of each mode that PIL writes to TIFF with all pixels kept, and their luminance.
TIFFS = {
    '1': (Image.fromarray(GREYS > 99), (GREYS > 99) * 255),
    'L': (Image.fromarray(GREYS), GREYS),
    'LA': (Image.fromarray(GREYS).convert('LA'), GREYS),
    'P': (Image.fromarray(GREYS).convert('P'), GREYS),
    'PA': (Image.fromarray(GREYS).convert('PA'), GREYS),
    'RGB': (Image.fromarray(COLOURS), luminance(COLOURS)),
    'RGBX': (Image.fromarray(COLOURS).convert('RGBX'), luminance(COLOURS)),
    'RGBA': (Image.fromarray(COLOURS).convert('RGBA'), luminance(COLOURS)),
    'CMYK': (Image.fromarray(COLOURS).convert('CMYK'), luminance(COLOURS)),
    'I;16': (Image.fromarray(GREYS.astype(np.uint16) * 257), GREYS),
    'I;16B': (Image.fromarray((GREYS.astype(np.uint16) * 257).astype('>u2')), GREYS),
    'I': (Image.fromarray(GREYS.astype(np.int32) * 257), GREYS),
}


@pytest.mark.parametrize('compression', ['raw', 'tiff_lzw', 'tiff_adobe_deflate', 'packbits'])
@pytest.mark.parametrize('mode', TIFFS)
def test_a_tiff_of_any_mode_is_turned_as_its_orientation_says(tmp_path, mode, compression):
    image, shown = TIFFS[mode]
    assert image.mode == mode
    for orientation, turned in TURNS.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = saved(tmp_path, image, '.tif', compression=compression, exif=exif)
        close(load(path), turned(shown))


def test_sixteen_bits_that_hold_twelve_are_said_once(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(loading, 'print_log', lambda text, **kwargs: said.append(text))
    load_one, wide = LoadGrayscale(), GREYS.astype(np.uint16)
    for values in (wide * 257, np.zeros_like(wide), wide * 16, wide * 16):
        path = saved(tmp_path, Image.fromarray(values))
        load_one(dict(img_path=str(path)))
    assert len(said) == 1
    assert said[0].startswith(f'The 16-bit image {path} has no value above {wide.max() * 16}, as')


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
@pytest.mark.parametrize('share', [0, 0.3, 0.7, 0.9])
def test_a_cut_image_is_named(tmp_path, suffix, share):
    noise = Image.fromarray(RNG.integers(0, 256, (60, 60, 3), np.uint8))
    path = saved(tmp_path, noise, suffix)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(
        ValueError,
        match=f'^The image {path} is cut or cannot be read '
        r'\([^\n]*\); replace it, [^\n]*\.$',
    ):
        load(path)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=20))
@settings(deadline=None)
def test_a_mutated_image_loads_or_is_refused_in_one_way(tmp_path_factory, changes):
    path = saved(tmp_path_factory.mktemp('mutated'), Image.fromarray(COLOURS))
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[int(place * (len(content) - 1))] = value
    path.write_bytes(content)
    try:
        assert load(path).ndim == 2
    except ValueError as error:
        assert f'The image {path} is cut or cannot be read' in str(error)


def test_an_image_of_unknown_range_is_refused(tmp_path):
    path = saved(tmp_path, Image.fromarray(GREYS.astype(np.float32)), '.tif')
    with pytest.raises(ValueError, match='floating-point images have no known range'):
        load(path)
    path = saved(tmp_path, Image.fromarray(GREYS.astype(np.int32) * 1000), '.tif')
    with pytest.raises(ValueError, match='32-bit images have no known range'):
        load(path)


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f'The image {tmp_path}/1.png is missing'):
        load(tmp_path / '1.png')


def upscaled(shape, scale=1.0, boxes=None):
    results = dict(img=np.zeros(shape, np.uint8), img_shape=shape[:2])
    if boxes is not None:
        results['gt_bboxes'] = np.float32(boxes).reshape(-1, 4)
    return UpscaleToCover(size=(54, 110), scale=scale)(results)


@pytest.mark.parametrize(
    'shape, scale, expected',
    [
        ((350, 741), 1, (350, 741)),
        ((350, 741), 0.5, (175, 370)),
        ((54, 110), 1, (54, 110)),
        ((54, 110), 0.5, (54, 110)),
        ((83, 199), 0.75, (62, 149)),
        ((83, 199), 0.5, (54, 129)),
        ((30, 30), 1, (110, 110)),
        ((27, 110), 1, (54, 220)),
        ((1, 1), 1, (110, 110)),
        ((1, 300), 1, (54, 16200)),
        ((300, 1), 0.5, (33000, 110)),
    ],
)
def test_a_side_short_of_the_size_brings_the_whole_image_up_to_it(shape, scale, expected):
    results = upscaled(shape, scale)
    assert results['img'].shape == results['img_shape'] == expected


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([1.0, 0.75, 0.5, 1.5]))
@settings(max_examples=60, deadline=None)
def test_both_sides_reach_the_size_and_the_aspect_stays(height, width, scale):
    results = upscaled((height, width), scale)
    new_height, new_width = results['img'].shape
    assert new_height >= 54 and new_width >= 110
    # One factor for both sides, to the nearest pixel.
    factor = max(Fraction(scale), Fraction(54, height), Fraction(110, width))
    assert abs(new_height - height * factor) <= 0.5 and abs(new_width - width * factor) <= 0.5


def test_boxes_go_with_the_image():
    results = upscaled((30, 40), boxes=[[10.0, 5.0, 20.0, 15.0]])
    height, width = results['img'].shape
    assert (height, width) == (82, 110)
    expected = [10 * 110 / 40, 5 * 82 / 30, 20 * 110 / 40, 15 * 82 / 30]
    assert results['gt_bboxes'][0].tolist() == pytest.approx(expected)
    assert results['gt_bboxes'].dtype == np.float32
    assert results['scale_factor'] == (110 / 40, 82 / 30)
    assert upscaled((30, 40), boxes=[])['gt_bboxes'].shape == (0, 4)


def test_an_image_large_enough_is_not_touched():
    image = RNG.integers(0, 256, (60, 120), np.uint8)
    assert UpscaleToCover(size=(54, 110))(dict(img=image))['img'] is image


def test_what_is_bright_on_the_left_stays_there_in_colour_too():
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, :20, 1] = 200
    result = UpscaleToCover(size=(54, 110))(dict(img=image))['img']
    assert result.shape == (55, 110, 3)
    assert result[:, :50, 1].min() == 200 and result[:, 60:].max() == 0


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(size=(0, 110)), r'size=...\) is a height and a width of at least 1, got \(0, 110\)'),
        (dict(size=(54,)), r'size=...\) is a height and a width'),
        (dict(size=(54, 110), scale=0), r'scale=...\) must be above 0, got 0'),
        (
            dict(size=(54, 110), interpolation='best'),
            r"interpolation=...\) must be one of .*'best'",
        ),
    ],
)
def test_an_option_out_of_range_is_named(options, message):
    with pytest.raises(ValueError, match=rf'UpscaleToCover\({message}'):
        UpscaleToCover(**options)
