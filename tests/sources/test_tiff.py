import threading

import mmcv
import numpy as np
import pytest
import tifffile

from mmdcn.analysis import peak_memory
from mmdcn.sources import TiffSource, open_source

from .files import WINDOWS, block_means, noise, shrunk, smooth, window, write_pyramid

H, W = 131, 157
LAYOUTS = {
    'strips': dict(rowsperstrip=16),
    'one strip': dict(rowsperstrip=H),
    'deflated strips': dict(rowsperstrip=16, compression='zlib', predictor=True),
    'one deflated strip': dict(rowsperstrip=H, compression='zlib'),
    'tiles': dict(tile=(32, 48)),
    'one tile': dict(tile=(144, 160)),
    'LZW tiles': dict(tile=(32, 48), compression='lzw'),
    'JPEG 2000': dict(tile=(64, 64), compression='jpeg2000'),
    'BigTIFF': dict(tile=(32, 48), bigtiff=True, compression='zlib'),
    'big-endian': dict(tile=(32, 48), byteorder='>'),
    'big-endian, deflated': dict(tile=(32, 48), byteorder='>', compression='zlib'),
    'OME': dict(tile=(32, 48), ome=True),
}
KINDS = {
    'grey': ((H, W), dict(photometric='minisblack')),
    'rgb': ((H, W, 3), dict(photometric='rgb')),
    'rgb planes': ((3, H, W), dict(photometric='rgb', planarconfig='separate')),
    'bands': ((H, W, 5), dict(photometric='minisblack', planarconfig='contig')),
    'band planes': ((5, H, W), dict(photometric='minisblack', planarconfig='separate')),
}


def written(path, kind, layout, dtype=np.uint8):
    """Write noise and return it as a source shall give it: (H, W, C), colours as BGR."""
    shape, options = KINDS[kind]
    image = noise(*shape, dtype=dtype)
    tifffile.imwrite(path, image, **options, **LAYOUTS[layout])
    if kind == 'grey':
        image = image[..., None]
    if 'planes' in kind:
        image = image.transpose(1, 2, 0)
    return image[..., ::-1] if 'rgb' in kind else image


# imagecodecs' JPEG 2000 and tifffile's OME make of planes other pages.
WRITABLE = [
    (kind, layout)
    for kind in KINDS
    for layout in LAYOUTS
    if layout not in ('JPEG 2000', 'OME') or kind in ('grey', 'rgb')
]


@pytest.mark.parametrize('kind, layout', WRITABLE)
def test_windows_and_overviews_are_those_of_all_pixels(kind, layout, tmp_path):
    for dtype in (np.uint8, np.uint16):
        image = written(tmp_path / 'a.tif', kind, layout, dtype)
        source = open_source(tmp_path / 'a.tif')
        assert isinstance(source, TiffSource)
        assert (source.size, source.channels, source.dtype) == ((H, W), image.shape[2], dtype)
        for place in WINDOWS:
            found = source.window(*place)
            assert found.dtype == dtype and found.flags.c_contiguous
            np.testing.assert_array_equal(found, window(image, *place))
        for scale in (1, 0.125, 0.3):
            overview = source.overview(scale)
            assert overview.dtype == np.float32 and overview.flags.c_contiguous
            np.testing.assert_array_equal(overview, shrunk(image, scale))


@pytest.mark.parametrize('colours', ['rgb', 'ycbcr'])
def test_jpeg_tiles_become_the_colours_that_mmcv_loads(colours, tmp_path):
    image = smooth(H, W)
    tifffile.imwrite(
        tmp_path / 'a.tif',
        image,
        tile=(32, 48),
        photometric='rgb',
        compression='jpeg',
        compressionargs={'level': 95, 'outcolorspace': colours},
    )
    found = open_source(tmp_path / 'a.tif').window(0, 0, H, W)
    assert np.abs(found[..., ::-1].astype(int) - image).mean() < 2
    np.testing.assert_array_equal(found, mmcv.imread(str(tmp_path / 'a.tif')))


def test_a_file_is_not_read_beyond_the_tiles_that_a_window_touches(tmp_path, monkeypatch):
    image = written(tmp_path / 'a.tif', 'rgb', 'LZW tiles')
    source = TiffSource(tmp_path / 'a.tif')
    reader = source._reader()
    reads = []
    given = reader._bytes
    monkeypatch.setattr(reader, '_bytes', lambda *where: reads.append(where) or given(*where))
    np.testing.assert_array_equal(source.window(30, 40, 4, 4), image[30:34, 40:44])
    assert len(reads) == 2


def test_a_large_strip_that_is_not_compressed_is_read_in_part(tmp_path, monkeypatch):
    image = written(tmp_path / 'a.tif', 'rgb', 'one strip')
    source = TiffSource(tmp_path / 'a.tif')
    reader = source._reader()
    sizes = []
    given = reader._bytes
    monkeypatch.setattr(
        reader, '_bytes', lambda offset, count: sizes.append(count) or given(offset, count)
    )
    np.testing.assert_array_equal(source.window(30, 40, 4, 5), image[30:34, 40:45])
    assert sum(sizes) == 4 * 5 * 3


@pytest.mark.parametrize('scale', [1 / 2, 1 / 3, 1 / 5, 1 / 7, 1 / 16, 1 / 31, 0.3, 0.77])
@pytest.mark.parametrize('height', [33, 64, 65, 192, 700, 1023])
def test_bands_change_no_bit_of_an_overview(height, scale, tmp_path):
    image = noise(height, 70, 1)
    tifffile.imwrite(tmp_path / 'a.tif', image, tile=(16, 32), compression='zlib')
    np.testing.assert_array_equal(
        TiffSource(tmp_path / 'a.tif').overview(scale), shrunk(image, scale)
    )


def pages(image):
    return [block_means(image, size) for size in (2, 4, 8)]


def as_subifds(path, image):
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(image, tile=(32, 48), photometric='rgb', subifds=3)
        for level in pages(image):
            tiff.write(level, tile=(32, 48), photometric='rgb', subfiletype=1)


def as_pages(path, image):
    write_pyramid(path, image, *pages(image), photometric='rgb')


def as_ome(path, image):
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(image, tile=(32, 48), photometric='rgb', subifds=3, metadata={'axes': 'YXS'})
        for level in pages(image):
            tiff.write(level, tile=(32, 48), photometric='rgb', subfiletype=1)


def as_aperio(path, image):
    """Levels are tiled pages; a thumbnail, a label and a picture of the glass are in strips."""
    half, quarter, eighth = pages(image)
    tiles = dict(tile=(32, 48), photometric='rgb', metadata=None)
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(image, description='Aperio Image Library v12', **tiles)
        tiff.write(eighth[::-1], photometric='rgb', metadata=None, description='thumbnail')
        for level in (half, quarter, eighth):
            tiff.write(level, description='Aperio level', **tiles)
        for name, shape in (('label', (50, 40, 3)), ('macro', (30, 90, 3))):
            tiff.write(
                np.zeros(shape, np.uint8),
                photometric='rgb',
                subfiletype=1,
                metadata=None,
                description=name,
            )


@pytest.mark.parametrize('write', [as_subifds, as_pages, as_ome, as_aperio])
def test_a_level_of_the_pyramid_at_the_scale_is_the_overview(write, tmp_path):
    image = smooth(527, 614)
    write(tmp_path / 'a.tif', image)
    source = TiffSource(tmp_path / 'a.tif')
    for size, level in zip((2, 4, 8), pages(image), strict=True):
        np.testing.assert_array_equal(source.overview(1 / size), level[..., ::-1])
    np.testing.assert_array_equal(source.window(9, 8, 70, 60), image[9:79, 8:68, ::-1])


@pytest.mark.parametrize('scale', [0.5, 0.4, 0.3, 0.2, 1 / 6, 0.11, 1 / 16])
@pytest.mark.parametrize('size', [(512, 640), (527, 614), (519, 633)])
def test_an_overview_from_a_pyramid_lies_where_that_of_all_pixels_lies(size, scale, tmp_path):
    image = smooth(*size)
    write_pyramid(tmp_path / 'a.tif', image, *pages(image), photometric='rgb')
    found, exact = TiffSource(tmp_path / 'a.tif').overview(scale), shrunk(image, scale)[..., ::-1]
    assert found.shape == exact.shape
    assert np.abs(found - exact)[:-1, :-1].mean() < 1
    moved = np.abs(found[1:, 1:] - exact[:-1, :-1])  # by one pixel
    assert np.abs(found - exact).mean() < moved.mean() / 3


def test_a_row_and_a_column_that_rounding_took_away_repeat_the_border(tmp_path):
    image = smooth(160, 240)
    level = block_means(image, 4)
    write_pyramid(tmp_path / 'a.tif', image, level[:-1, :-1], photometric='rgb')
    overview = TiffSource(tmp_path / 'a.tif').overview(0.25)
    np.testing.assert_array_equal(
        overview, np.pad(level[:-1, :-1, ::-1], ((0, 1), (0, 1), (0, 0)), 'edge')
    )
    np.testing.assert_array_equal(
        TiffSource(tmp_path / 'a.tif').overview(0.125),
        shrunk(np.pad(level[:-1, :-1], ((0, 1), (0, 1), (0, 0)), 'edge'), 0.5)[..., ::-1],
    )


def test_a_coarser_level_than_the_scale_is_not_enlarged(tmp_path):
    image = noise(256, 256, 3)
    write_pyramid(tmp_path / 'a.tif', image, np.zeros((64, 64, 3), np.uint8), photometric='rgb')
    np.testing.assert_array_equal(
        TiffSource(tmp_path / 'a.tif').overview(0.5), shrunk(image, 0.5)[..., ::-1]
    )


def test_a_tile_without_data_is_empty(tmp_path):
    image = written(tmp_path / 'a.tif', 'grey', 'tiles')
    with tifffile.TiffFile(tmp_path / 'a.tif', mode='r+') as tiff:
        tags = tiff.pages[0].tags
        tags['TileByteCounts'].overwrite([0, *tags['TileByteCounts'].value[1:]])
    image[:32, :48] = 0
    np.testing.assert_array_equal(TiffSource(tmp_path / 'a.tif').window(0, 0, H, W), image)


def test_threads_read_one_source_at_once(tmp_path):
    image = written(tmp_path / 'a.tif', 'rgb', 'LZW tiles')
    source = TiffSource(tmp_path / 'a.tif')
    wrong = []

    def read(seed):
        draw = np.random.default_rng(seed)
        for _ in range(40):
            place = (*draw.integers(-20, 150, 2).tolist(), *draw.integers(1, 60, 2).tolist())
            if not np.array_equal(source.window(*place), window(image, *place)):
                wrong.append(place)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def refused(path, match):
    with pytest.raises(ValueError, match=match) as caught:
        open_source(path)
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_cut_file_is_named(tmp_path):
    written(tmp_path / 'a.tif', 'rgb', 'tiles')
    whole = (tmp_path / 'a.tif').read_bytes()
    for share in (0.9, 0.5, 0.01, 0.0001):
        (tmp_path / 'a.tif').write_bytes(whole[: max(9, int(len(whole) * share))])
        refused(tmp_path / 'a.tif', 'is cut')


def test_a_tile_that_does_not_decode_is_named(tmp_path):
    written(tmp_path / 'a.tif', 'rgb', 'BigTIFF')
    with tifffile.TiffFile(tmp_path / 'a.tif') as tiff:
        offset, count = tiff.pages[0].dataoffsets[5], tiff.pages[0].databytecounts[5]
    data = bytearray((tmp_path / 'a.tif').read_bytes())
    data[offset : offset + count] = bytes(count)
    (tmp_path / 'a.tif').write_bytes(data)
    source = open_source(tmp_path / 'a.tif')
    source.window(0, 0, 30, 30)
    for read in (lambda: source.overview(0.5), lambda: source.window(0, 0, H, W)):
        with pytest.raises(ValueError, match='Tile or strip 5 of the TIFF .*a.tif cannot be dec'):
            read()


@pytest.mark.parametrize(
    'level', [noise(64, 90, 3), noise(64, 64), noise(64, 64, 3, dtype=np.uint16)]
)
def test_a_level_that_disagrees_is_refused(level, tmp_path):
    with tifffile.TiffWriter(tmp_path / 'a.tif') as tiff:
        tiff.write(noise(128, 128, 3), tile=(32, 32), photometric='rgb', subifds=1)
        tiff.write(level, subfiletype=1, photometric='rgb' if level.ndim == 3 else 'minisblack')
    refused(tmp_path / 'a.tif', 'level of 64.* does not fit the image of 128×128×3 uint8')


@pytest.mark.parametrize(
    'match, image, options',
    [
        (
            'a palette: .*vips tiffsave',
            noise(40, 50),
            dict(photometric='palette', colormap=noise(3, 256, dtype=np.uint16)),
        ),
        ('CMYK.*vips icc_transform', noise(40, 50, 4), dict(photometric='separated')),
        (
            'transparency.*vips flatten',
            noise(40, 50, 4),
            dict(photometric='rgb', extrasamples=['unassalpha']),
        ),
        (
            'transparency.*vips flatten',
            noise(40, 50, 2),
            dict(photometric='minisblack', planarconfig='contig', extrasamples=['assocalpha']),
        ),
        (
            'other samples beside its colours',
            noise(40, 50, 4),
            dict(photometric='rgb', extrasamples=['unspecified']),
        ),
        ('float32.*vips cast', np.ones((40, 50), np.float32), {}),
        ('int16.*vips cast', np.ones((40, 50), np.int16), {}),
        ('MINISWHITE', noise(40, 50), dict(photometric='miniswhite')),
        ('YCbCr', noise(40, 50, 3), dict(photometric='ycbcr')),
        ('several images of one size.*page=0', noise(4, 40, 50), dict(photometric='minisblack')),
        (
            'rows in another order.*vips autorot',
            noise(40, 50),
            dict(extratags=[(274, 'H', 1, 6, True)]),
        ),
    ],
)
def test_what_is_neither_grey_nor_bands_nor_colours_is_refused(match, image, options, tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', image, **options)
    refused(tmp_path / 'a.tif', match)


def test_a_compressed_piece_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    written(tmp_path / 'a.tif', 'rgb', 'one deflated strip')
    monkeypatch.setattr('PIL.Image.MAX_IMAGE_PIXELS', 1000)
    refused(tmp_path / 'a.tif', 'in pieces of 131×157 pixels, more than the 1000')


def test_an_overview_of_a_large_file_needs_little_memory(tmp_path):
    image = noise(4096, 1024, 3)
    tifffile.imwrite(tmp_path / 'a.tif', image, tile=(64, 64), photometric='rgb')
    source = TiffSource(tmp_path / 'a.tif')
    assert peak_memory(lambda: source.overview(1 / 8)) < image.nbytes / 4
