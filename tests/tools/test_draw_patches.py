from functools import partial

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import save_checkpoint

from mmdcn.utils.build import build_model

from ..conftest import ROOT
from ..models.dcns import build_dcn
from .running import QUICK, run_tool

SVHN = 'configs/dcn/dcn-k6-w25_svhn.py'
TOWERS = {'coarse-w25_1xb32-10e_svhn': 'epoch_10.pth', 'fine-w25_1xb32-5e_svhn': 'epoch_5.pth'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory, mnist_root, street_numbers_root):
    """A working folder with data, an untrained DCN and untrained towers where configs say."""
    torch.manual_seed(0)
    init_default_scope('mmdcn')
    folder = tmp_path_factory.mktemp('drawn')
    (folder / 'data').mkdir()
    (folder / 'data' / 'mnist').symlink_to(mnist_root)
    (folder / 'data' / 'svhn').symlink_to(street_numbers_root)
    (folder / 'configs').symlink_to(ROOT / 'configs')
    save_checkpoint(dict(state_dict=build_dcn().state_dict()), str(folder / 'dcn.pth'))
    for name, checkpoint in TOWERS.items():
        model = build_model(Config.fromfile(ROOT / 'configs' / 'dcn' / f'{name}.py'))
        save_checkpoint(
            dict(state_dict=model.state_dict()), str(folder / 'work_dirs' / name / checkpoint)
        )
    return folder


@pytest.fixture
def draw(folder):
    """Runs the tool in that folder and gives what it printed."""
    return partial(run_tool, 'tools/visualizations/draw_patches.py', folder=folder)


def test_a_checkpoints_patches_on_the_first_images_of_a_subset_are_drawn(draw, folder):
    printed = draw(QUICK, 'dcn.pth', '--out', 'new/patches.png', '--num', 3, '--subset', 'val')
    assert 'new/patches.png: 3 images of the val set, boxes are the 8 patches' in printed
    height, width = cv2.imread(str(folder / 'new' / 'patches.png')).shape[:2]
    assert width == pytest.approx(3 * height, rel=0.2)
    assert [path.name for path in (folder / 'new').iterdir()] == ['patches.png']


def test_budgets_of_their_own_are_drawn(draw):
    printed = draw(
        QUICK,
        'dcn.pth',
        '--out',
        'mass.png',
        '--num',
        6,
        '--cfg-options',
        'model.selector.type=MassSelector',
        'model.selector.share=0.05',
    )
    assert ' to ' in printed.partition('boxes are the ')[2].partition(' patches')[0]


def test_towers_that_the_config_names_are_drawn_on_images_of_unlike_sizes(draw, folder):
    printed = draw(SVHN, '--out', 'svhn.svg', '--num', 3)
    assert 'svhn.svg: 3 images of the test set, boxes are the ' in printed
    assert (folder / 'svhn.svg').read_bytes().startswith(b'<?xml')


def test_an_image_gets_a_row_with_a_panel_a_scale(draw, folder):
    printed = draw(SVHN, '--tta', '--out', 'scales.png', '--num', 2)
    assert '2 images of the test set' in printed and 'at each scale' in printed
    picture = cv2.imread(str(folder / 'scales.png'))
    ink = (picture.min(axis=2) < 250).any(axis=0)
    gaps = np.flatnonzero(~ink[:-1] & ink[1:])
    assert len(gaps) == 3  # a white column before each panel


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('configs/none.py',), 'The config configs/none.py is not there'),
        ((QUICK,), 'does not name the weights of all parts in an init_cfg'),
        ((QUICK, 'none.pth'), 'none.pth is not there.'),
        ((QUICK, __file__), 'test_draw_patches.py is not a checkpoint'),
        (
            (SVHN, 'dcn.pth'),
            'The checkpoint dcn.pth is of another model than this DCNClassifier: it',
        ),
        (
            ('configs/dcn/dcn-k6_svhn.py',),
            'work_dirs/coarse_1xb128-10e_svhn/epoch_10.pth is not '
            'there. The init_cfg of the config names it: train',
        ),
        (
            ('configs/dcn/coarse-w25_1xb32-10e_svhn.py',),
            'its model has no selector, so it chooses no patches',
        ),
        ((QUICK, 'dcn.pth', '--tta'), 'lacks tta_model and tta_pipeline, which --tta needs.'),
        (
            (QUICK, 'dcn.pth', '--cfg-options', 'test_dataloader.dataset.data_root=nowhere'),
            'nowhere',
        ),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_sentence_and_nothing_is_written(
    draw, folder, arguments, message
):
    printed = draw(
        arguments[0], *arguments[1:2], '--out', 'refused/patches.png', *arguments[2:], code=1
    )
    assert message in printed.rstrip().rpartition('\n')[2]
    assert not (folder / 'refused').exists()


@pytest.mark.parametrize(
    'options, message',
    [
        (('--out', 'patches.txt'), 'patches.txt is not a picture file: end its name in .png'),
        (
            ('--out', 'patches.png', '--num', 0),
            'argument --num: must be a whole number of at least 1, got 0.',
        ),
    ],
)
def test_options_out_of_range_are_refused(draw, options, message):
    assert message in draw(QUICK, 'dcn.pth', *options, code=2)
