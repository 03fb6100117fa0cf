"""What tools/analysis_tools/files_read.py counts, against counts of one's own."""

import json

import numpy as np
import pytest
import tifffile
from mmengine.runner import save_checkpoint

from mmdcn.sources import open_source
from mmdcn.utils.build import build_model, read_config
from tools.analysis_tools import files_read as tool

from ..conftest import ROOT
from .running import run_python, run_tool

CONFIG = 'configs/dcn/dcn-k10_1xb16-8e_large-images.py'


@pytest.fixture
def striped(tmp_path):
    """A TIFF of 100×300 pixels in tiles of 64×64."""
    path = tmp_path / 'striped.tif'
    tifffile.imwrite(path, np.zeros((100, 300), np.uint8), tile=(64, 64), compression='zlib')
    return path


def test_pixels_inside_of_the_image_count_and_tiles_as_a_whole(striped):
    source, reads = open_source(striped), tool.Reads()
    with reads.recorded():
        source.overview(1 / 4)
        source.window(-20, 60, 50, 50)  # 30×50 inside, in two tiles of the first row
        source.window(90, 290, 50, 50)  # 10×10 inside, in the last tile
        source.window(200, 0, 50, 50)  # outside
    source.window(0, 0, 50, 50)  # not recorded
    assert reads.overviews == 25 * 75
    assert sum(window.pixels for window in reads.windows) == 30 * 50 + 10 * 10
    assert tool.decoded(reads.windows) == 3 * 64 * 64


def test_tiles_of_other_files_are_not_known(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros((64, 64), np.uint8))
    reads = tool.Reads()
    with reads.recorded():
        open_source(tmp_path / 'a.npy').window(0, 0, 8, 8)
    assert tool.decoded(reads.windows) is None


def test_a_table_of_two_models_is_printed_and_written(large_images_root, tmp_path):
    configs = [CONFIG, CONFIG.replace('dcn-k10', 'downsampled')]
    checkpoints = []
    for number, config in enumerate(configs):
        checkpoints.append(tmp_path / f'{number}.pth')
        model = build_model(read_config(config))
        save_checkpoint(dict(state_dict=model.state_dict()), str(checkpoints[-1]))
    out = tmp_path / 'files.json'
    printed = run_python(
        *('tools/analysis_tools/files_read.py', *configs, '--checkpoints', *checkpoints),
        *('--out', out, '--cfg-options', f'work_dir={tmp_path / "work"}'),
        LARGE_IMAGES_ROOT=large_images_root,
    )
    assert 'dcn-k10' in printed and 'downsampled' in printed
    dcn, downsampled = json.loads(out.read_text())['rows']
    assert dcn['files'] == downsampled['files'] == 10
    assert 0 <= dcn['error'] <= 100
    assert dcn['overview_pixels'] == downsampled['overview_pixels']
    assert 0 < dcn['window_pixels'] <= 10 * 10 * 256**2 and downsampled['window_pixels'] == 0
    assert downsampled['read_share'] < dcn['read_share'] <= dcn['decoded_share']
    assert dcn['peak_bytes'] >= dcn['before_bytes'] > 2**20


def test_an_untrained_config_names_the_command_that_trains_it(tmp_path):
    printed = run_tool('tools/analysis_tools/files_read.py', ROOT / CONFIG, folder=tmp_path, code=1)
    assert 'python tools/train.py' in printed
