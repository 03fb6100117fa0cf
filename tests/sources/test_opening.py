import struct
import sys
import zlib

import cv2
import mmcv
import numpy as np
import pytest
import tifffile
from PIL import Image

from mmdcn.sources import ArraySource, ImageFileSource, SlideSource, TiffSource, open_source
from mmdcn.sources.slide import on_white

from .files import block_means, noise, shrunk, smooth, window


def refused(path, match, error=ValueError):
    with pytest.raises(error, match=match) as caught:
        open_source(path)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_the_content_of_a_file_decides_who_reads_it_not_its_name(tmp_path):
    np.save(tmp_path / 'array.npy', noise(9, 8))
    tifffile.imwrite(tmp_path / 'tiff.tif', noise(9, 8))
    for kind in ('png', 'jpg', 'webp', 'bmp', 'jp2', 'ppm'):
        Image.fromarray(noise(9, 8, 3)).save(tmp_path / f'image.{kind}')
    for path in sorted(tmp_path.iterdir()):
        content = path.rename(path.with_suffix('.unknown'))
        expected = {'array': ArraySource, 'tiff': TiffSource}.get(path.stem, ImageFileSource)
        assert type(open_source(content)) is expected
        assert open_source(content).size == (9, 8)


def test_a_file_that_nobody_reads_is_named(tmp_path):
    for name, content in [('a.txt', b'words'), ('a.png', b''), ('a.dcm', bytes(128) + b'DICM')]:
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, 'is cut, or nobody here reads|OpenSlide does not know its format')


@pytest.mark.parametrize('package', ['tifffile', 'imagecodecs', 'openslide'])
def test_a_missing_package_names_the_extra(package, tmp_path, monkeypatch):
    path = tmp_path / 'a.mrxs'
    if package == 'openslide':
        path.write_bytes(b'\xff\xd8\xff')
    else:
        tifffile.imwrite(path, noise(9, 8))
    monkeypatch.setitem(sys.modules, package, None)
    refused(
        path,
        rf"needs the package {package}: run `pip install 'mmdcn\[large\]'`",
        ModuleNotFoundError,
    )
    Image.fromarray(noise(9, 8)).save(tmp_path / 'a.ppm')
    assert open_source(tmp_path / 'a.ppm').size == (9, 8)


# Arrays


@pytest.mark.parametrize('dtype', ['u1', '<u2', '>u2'])
@pytest.mark.parametrize('order', 'CF')
@pytest.mark.parametrize('shape', [(70, 50), (70, 50, 1), (70, 50, 5)])
def test_an_array_keeps_its_channels(dtype, order, shape, tmp_path):
    array = np.asarray(noise(*shape, dtype=np.dtype(dtype).newbyteorder('=').type), dtype, order)
    np.save(tmp_path / 'a.npy', array)
    source, image = open_source(tmp_path / 'a.npy'), array.reshape(70, 50, -1)
    assert source.dtype == np.dtype(dtype).newbyteorder('=') and source.dtype.isnative
    np.testing.assert_array_equal(source.window(-3, 4, 60, 70), window(image, -3, 4, 60, 70))
    native = image.astype(source.dtype)
    for scale in (1, 0.5, 0.3):
        np.testing.assert_array_equal(source.overview(scale), shrunk(native, scale))


@pytest.mark.parametrize(
    'array, match',
    [
        (np.zeros((3, 4), np.float32), 'must hold uint8 or uint16, got float32'),
        (np.zeros((3, 4), np.int16), 'must hold uint8 or uint16, got int16'),
        (noise(3, 4, dtype=np.uint32), 'must hold uint8 or uint16, got uint32'),
        (noise(2, 3, 4, 5), r'must be one image of \(H, W\) or \(H, W, C\), got 2×3×4×5'),
        (noise(0, 4), 'got 0×4'),
        (np.array([None]), 'is cut or is no .npy file'),
    ],
)
def test_an_array_that_is_no_image_is_refused(array, match, tmp_path):
    np.save(tmp_path / 'a.npy', array)
    refused(tmp_path / 'a.npy', match)


def test_a_cut_array_is_named(tmp_path):
    np.save(tmp_path / 'a.npy', noise(90, 80))
    whole = (tmp_path / 'a.npy').read_bytes()
    for number in (len(whole) - 1, 100, 10):
        (tmp_path / 'a.npy').write_bytes(whole[:number])
        refused(tmp_path / 'a.npy', 'is cut or is no .npy file')


# Files of images


@pytest.mark.parametrize(
    'kind, orientation',
    [('bmp', 1), *((kind, number) for kind in ('png', 'jpg', 'webp') for number in range(1, 9))],
)
def test_colours_and_orientation_are_those_that_mmcv_loads(kind, orientation, tmp_path):
    exif, path = Image.Exif(), tmp_path / f'a.{kind}'
    exif[0x0112] = orientation
    options = {} if kind == 'bmp' else dict(exif=exif)
    Image.fromarray(smooth(70, 93)).save(path, **options)
    source, image = open_source(path), mmcv.imread(str(path))
    assert isinstance(source, ImageFileSource)
    assert (*source.size, source.channels) == image.shape
    np.testing.assert_array_equal(source.window(0, 0, *source.size), image)
    for scale in (1 / 2, 1 / 4, 0.3):
        found, exact = source.overview(scale), shrunk(image, scale)
        assert found.shape == exact.shape
        assert np.abs(found - exact).mean() < 2


@pytest.mark.parametrize('size', [(512, 640), (509, 635)])
@pytest.mark.parametrize('scale', [1 / 2, 1 / 3, 1 / 8, 1 / 16])
def test_the_overview_of_a_jpeg_is_decoded_at_a_smaller_scale(size, scale, tmp_path, monkeypatch):
    Image.fromarray(smooth(*size)).save(tmp_path / 'a.jpg', quality=95)
    source, image = open_source(tmp_path / 'a.jpg'), mmcv.imread(str(tmp_path / 'a.jpg'))
    exact = shrunk(image, scale)
    decoded = counted(source, monkeypatch)
    found = source.overview(scale)
    assert len(decoded) == 1 and decoded[0] > 0  # not level 0, the whole image
    assert found.shape == exact.shape and np.abs(found - exact).mean() < 1


def test_grey_files_keep_one_channel_of_8_or_16_bits(tmp_path):
    for dtype in (np.uint8, np.uint16):
        image = noise(50, 60, dtype=dtype)
        Image.fromarray(image).save(tmp_path / 'a.png')
        source = open_source(tmp_path / 'a.png')
        assert (source.channels, source.dtype) == (1, dtype)
        np.testing.assert_array_equal(source.window(0, 0, 50, 60)[..., 0], image)
        np.testing.assert_array_equal(source.overview(0.5), shrunk(image[..., None], 0.5))


def counted(source, monkeypatch):
    """The levels that a source decodes from now on."""
    levels, reader = [], source._reader()._reader
    decode = reader.decode
    monkeypatch.setattr(reader, 'decode', lambda level: levels.append(level) or decode(level))
    return levels


def test_windows_that_are_read_together_and_an_overview_decode_an_image_once(tmp_path, monkeypatch):
    image = noise(500, 60, 3)
    Image.fromarray(image).save(tmp_path / 'a.png')
    source = open_source(tmp_path / 'a.png')
    decoded = counted(source, monkeypatch)
    source.overview(0.5)
    assert decoded == [0]
    found = source.windows([(0, 0), (20, 30), (-5, 40)], 25, 20)
    assert decoded == [0, 0]
    np.testing.assert_array_equal(found[1], image[20:45, 30:50, ::-1])


@pytest.mark.parametrize(
    'options', [{}, dict(progressive=True), dict(subsampling=0), dict(exif=True), dict(grey=True)]
)
@pytest.mark.parametrize('trailing', [b'', b'more'], ids=['', 'trailing bytes'])
def test_a_jpeg_has_the_same_pixels_with_imagecodecs_and_without(
    options, trailing, tmp_path, monkeypatch
):
    path, options = tmp_path / 'a.jpg', dict(options)
    image = Image.fromarray(noise(70, 90, 3))
    if options.pop('grey', False):
        image = image.convert('L')
    if options.pop('exif', False):
        options['exif'] = image.getexif()
        options['exif'][0x0112] = 6
    image.save(path, **options)
    path.write_bytes(path.read_bytes() + trailing)
    source = open_source(path)
    found = source.window(-3, 5, 60, 60)
    monkeypatch.setitem(sys.modules, 'imagecodecs', None)
    np.testing.assert_array_equal(found, source.window(-3, 5, 60, 60))


def test_a_cut_image_is_named(tmp_path):
    for kind in ('png', 'jpg'):
        path = tmp_path / f'a.{kind}'
        Image.fromarray(noise(200, 200, 3)).save(path)
        path.write_bytes(path.read_bytes()[:5000])
        source = open_source(path)
        for read in (lambda: source.window(0, 0, 5, 5), lambda: source.overview(0.5)):  # noqa: B023
            with pytest.raises(ValueError, match=f'The image {path} is cut or cannot be decoded'):
                read()


def test_an_image_that_unpacks_to_40_gigabytes_is_refused_at_once(tmp_path):
    def chunk(name, data):
        body = name + data
        return struct.pack('>I', len(data)) + body + struct.pack('>I', zlib.crc32(body))

    header = struct.pack('>IIBBBBB', 115_000, 115_000, 8, 2, 0, 0, 0)
    (tmp_path / 'a.png').write_bytes(
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(bytes(99)))
    )
    refused(tmp_path / 'a.png', 'more than the 89478485 pixels that PIL takes for safe: convert it')


@pytest.mark.parametrize(
    'mode, kind, match',
    [
        ('RGBA', 'png', 'transparency: .*vips flatten'),
        ('LA', 'png', 'transparency: .*vips flatten'),
        ('CMYK', 'jpg', 'CMYK.*vips icc_transform'),
    ],
)
def test_transparency_and_the_colours_of_print_are_refused(mode, kind, match, tmp_path):
    Image.new(mode, (9, 8)).save(tmp_path / f'a.{kind}')
    refused(tmp_path / f'a.{kind}', match)


def test_a_palette_becomes_its_colours(tmp_path):
    image = Image.fromarray(noise(50, 60, 3)).quantize(20)
    image.save(tmp_path / 'a.png')
    source = open_source(tmp_path / 'a.png')
    np.testing.assert_array_equal(source.window(0, 0, 50, 60), mmcv.imread(str(tmp_path / 'a.png')))


# Slides


def test_a_tiff_that_only_openslide_knows_is_a_slide(tmp_path, monkeypatch):
    image = noise(131, 157, 3)
    tifffile.imwrite(
        tmp_path / 'a.tif', image, tile=(32, 48), photometric='rgb', compression='zlib'
    )
    monkeypatch.setattr(tifffile.TiffPage, 'is_bif', True)
    source = open_source(tmp_path / 'a.tif')
    assert isinstance(source, SlideSource)
    np.testing.assert_array_equal(source.window(0, 0, 131, 157), image[..., ::-1])
    with pytest.raises(ValueError, match='use open_source or SlideSource'):
        TiffSource(tmp_path / 'a.tif')


def test_a_slide_has_the_levels_of_its_pyramid(tmp_path):
    image = smooth(527, 614)
    levels = [block_means(image, size) for size in (2, 4, 8)]
    options = dict(photometric='rgb')
    with tifffile.TiffWriter(tmp_path / 'a.tif') as tiff:
        for subfile, level in [(0, image), *((1, level) for level in levels)]:
            tiff.write(level, tile=(64, 64), subfiletype=subfile, metadata=None, **options)
    source = SlideSource(tmp_path / 'a.tif')
    for size, level in zip((2, 4, 8), levels, strict=True):
        np.testing.assert_array_equal(source.overview(1 / size), level[..., ::-1])
    found, exact = source.overview(0.2), TiffSource(tmp_path / 'a.tif').overview(0.2)
    np.testing.assert_array_equal(found, exact)
    np.testing.assert_array_equal(
        source.window(500, 600, 40, 30), window(image[..., ::-1], 500, 600, 40, 30)
    )


def test_transparent_pixels_are_blended_with_white():
    pixels = noise(20, 30, 4)
    pixels[0, :, 3], pixels[1, :, 3] = 0, 255
    with_white = Image.alpha_composite(
        Image.new('RGBA', (30, 20), 'white'), Image.fromarray(pixels)
    )
    found, expected = on_white(pixels), np.asarray(with_white)[..., :3]
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (found[0] == 255).all() and (found[1] == pixels[1, :, :3]).all()
    pixels[..., 3] = 255
    np.testing.assert_array_equal(on_white(pixels), pixels[..., :3])


def test_colours_of_16_bits_in_a_png_are_refused_not_halved(tmp_path):
    cv2.imwrite(str(tmp_path / 'deep.png'), noise(20, 30, 3, dtype=np.uint16))
    with pytest.raises(ValueError, match='deep.png has colours of 16 bits: convert it to TIFF'):
        open_source(tmp_path / 'deep.png')
