import numpy as np
import pytest
import tifffile
from PIL import Image

from mmdcn.sources import open_source

from .running import run_tool

TOOL = 'tools/dataset_converters/make_benchmark_images.py'
SIDE = 1100  # not a multiple of the tiles


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    run_tool(TOOL, '--out', folder, '--side', SIDE, '--photos', 2, '--photo-side', 400)
    return folder


def test_one_tiff_has_a_pyramid_and_the_other_has_the_same_pixels_alone(folder):
    found = []
    for kind, levels in (('pyramid', 2), ('flat', 1)):
        path = folder / f'{kind}-{SIDE}.tif'
        with tifffile.TiffFile(path) as file:
            assert len(file.series[0].levels) == levels and file.pages[0].compression.name == 'JPEG'
        found.append(open_source(path).window(0, 0, SIDE, SIDE))
    assert found[0].shape == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(*found)
    half = open_source(folder / f'pyramid-{SIDE}.tif').overview(0.5)
    exact = open_source(folder / f'flat-{SIDE}.tif').overview(0.5)
    assert np.abs(half - exact).mean() < 3


def test_content_compresses_as_photographs_do_and_differs_from_file_to_file(folder):
    photos = sorted(folder.glob('photo-400x300-?.jpg'))
    for path in (*photos, folder / f'flat-{SIDE}.tif'):
        height, width = open_source(path).size
        assert 1 < 8 * path.stat().st_size / (height * width) < 3  # bits a pixel
    one, other = (np.asarray(Image.open(path)) for path in photos)
    assert one.shape == (300, 400, 3) and one.std() > 10 and np.abs(one - other).mean() > 10


def test_files_that_are_there_are_kept_and_no_unfinished_ones_stay(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(before) == 4
    printed = run_tool(TOOL, '--out', folder, '--side', SIDE, '--photos', 2, '--photo-side', 400)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert printed.count('is kept.') == 4
