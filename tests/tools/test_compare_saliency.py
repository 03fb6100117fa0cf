import json

import pytest
from mmengine.runner import save_checkpoint

from ..analysis.test_cost import BACK, CHANGE, COARSE_TOWER, HEAD, LAST, PATCH
from ..conftest import ROOT
from ..models.dcns import build_dcn
from .running import QUICK, run_tool

TOOL = 'tools/analysis_tools/compare_saliency.py'
MEASURES = ('EntropyGradient', 'ClassActivation', 'ActivationNorm', 'RandomCells', 'OracleCells')


@pytest.fixture(scope='module')
def compared(tmp_path_factory, mnist_root):
    """A folder with an untrained DCN, its config with few images, and what the tool made of it."""
    folder = tmp_path_factory.mktemp('compared')
    config = folder / 'config.py'
    config.write_text(
        f"_base_ = '{ROOT / QUICK}'\n"
        f"test_dataloader = dict(batch_size=8, dataset=dict(data_root='{mnist_root}', "
        'indices=12))\n'
    )
    save_checkpoint(dict(state_dict=build_dcn().state_dict()), str(folder / 'dcn.pth'))
    printed = run_tool(
        TOOL, config, folder / 'dcn.pth', '--subset', 'test', '--out', folder / 'new' / 'out.json'
    )
    return folder, printed, json.loads((folder / 'new' / 'out.json').read_text())


def test_every_measure_is_tested_with_every_budget(compared):
    _, printed, written = compared
    assert [(row['saliency'], row['k']) for row in written['results']] == [
        (name, k) for name in MEASURES for k in (2, 4, 8, 16, 24)
    ]
    assert written['subset'] == 'test' and written['images'] == 12
    for row in written['results']:
        assert 12 * row['error'] / 100 == pytest.approx(round(12 * row['error'] / 100))
        assert row['patch_hit'] == 100 or row['saliency'] != 'OracleCells'
        assert 0 <= row['patch_hit'] <= 100
    assert all(printed.count(name) == 3 for name in MEASURES)


def test_its_errors_and_hits_are_those_of_the_test_tool(compared):
    folder, _, written = compared
    (row,) = (
        row for row in written['results'] if (row['saliency'], row['k']) == ('ActivationNorm', 4)
    )
    run_tool(
        'tools/test.py',
        folder / 'config.py',
        folder / 'dcn.pth',
        '--work-dir',
        folder / 'work',
        '--out',
        folder / 'metrics.json',
        '--out-item',
        'metrics',
        '--cfg-options',
        'model.saliency.type=ActivationNorm',
        'model.selector.k=4',
    )
    metrics = json.loads((folder / 'metrics.json').read_text())
    assert row['error'] == pytest.approx(100 - metrics['accuracy/top1'], abs=1e-3)
    assert row['patch_hit'] == pytest.approx(metrics['patch_hit/mean'], abs=1e-3)


def test_measures_without_a_pass_through_the_head_cost_towers_and_one_head(compared):
    for row in compared[2]['results']:
        least = COARSE_TOWER + row['k'] * PATCH + HEAD
        if row['saliency'] in ('ActivationNorm', 'RandomCells', 'OracleCells'):
            assert row['multiplications'] == least
        elif row['saliency'] == 'ClassActivation':  # a second pass and 96 weights a window
            assert row['multiplications'] == least + HEAD + 96 * 10 * 10
        else:  # the way back, and changes in place of a second pass
            assert row['multiplications'] == least + BACK + LAST + row['k'] * CHANGE


def test_a_plot_lies_beside_the_figures(compared):
    assert (compared[0] / 'new' / 'out.png').read_bytes()[:4] == b'\x89PNG'


@pytest.mark.parametrize(
    'args, code, complaint',
    [
        ((QUICK, 'nowhere.pth'), 2, 'the file nowhere.pth is not there'),
        (('nowhere.py', 'README.md'), 1, 'The config nowhere.py is not there'),
        ((QUICK, 'README.md', '--out', 'plot.png'), 2, '--out: writes a .json file, got plot.png'),
        (
            (QUICK.replace('dcn-k8-hint_1xb128-4e', 'coarse_1xb128-60e'), 'README.md'),
            1,
            'its model has no selector, so it chooses no patches',
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(args, code, complaint):
    assert complaint in run_tool(TOOL, *args, code=code)
