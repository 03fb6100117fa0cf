import json

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import save_checkpoint

from mmdcn.analysis import count_multiplications
from mmdcn.models import EntropySelector, MassSelector
from mmdcn.utils.build import build_dataset
from tools.analysis_tools import budget_curve

from ..analysis.test_cost import BACK, CHANGE, COARSE_TOWER, HEAD, LAST, PATCH
from ..conftest import ROOT
from ..models.dcns import build_dcn
from .running import QUICK, run_tool

TOOL = 'tools/analysis_tools/budget_curve.py'
SELECTORS = {
    'TopKSelector': None,
    'EntropySelector': EntropySelector,
    'EntropySelector, all or nothing': EntropySelector,
    'MassSelector': MassSelector,
}
AVERAGES = (2, 5)
IMAGES = 41  # halves of 21 and 20


@pytest.fixture(scope='module')
def folder(tmp_path_factory, mnist_root):
    """Untrained weights whose entropies differ much, and a config with few images."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('budgets')
    dcn = build_dcn()
    torch.nn.init.normal_(dcn.head.fc.weight, std=4.0)
    save_checkpoint(dict(state_dict=dcn.state_dict()), str(folder / 'dcn.pth'))
    dataset = f"dict(data_root='{mnist_root}', indices={IMAGES})"
    (folder / 'config.py').write_text(
        f"_base_ = '{ROOT / QUICK}'\n"
        f'val_dataloader = dict(batch_size=8, dataset={dataset})\n'
        f'test_dataloader = dict(batch_size=8, dataset={dataset})\n'
    )
    return folder


def run(folder, subset):
    out = folder / 'new' / f'{subset}.json'
    printed = run_tool(
        TOOL,
        folder / 'config.py',
        folder / 'dcn.pth',
        '--average-k',
        *AVERAGES,
        '--subset',
        subset,
        '--out',
        out,
    )
    return printed, json.loads(out.read_text())


@pytest.fixture(scope='module')
def on_val(folder):
    return run(folder, 'val')


@pytest.fixture(scope='module')
def on_test(folder):
    return run(folder, 'test')


def trained(folder, row):
    """The DCN of the checkpoint with the selector of a row."""
    dcn = build_dcn()
    dcn.load_state_dict(torch.load(folder / 'dcn.pth')['state_dict'])
    dcn.selector = SELECTORS[row['selector']](**row['options_for_config'])
    return dcn.eval()


def images_of(folder, subset):
    dataset = build_dataset(Config.fromfile(folder / 'config.py'), subset)
    samples = [dataset[index] for index in range(IMAGES)]
    labels = torch.cat([sample['data_samples'].gt_label for sample in samples])
    return torch.stack([sample['inputs'] for sample in samples]) / 255.0, labels


@pytest.mark.parametrize('subset', ['val', 'test'])
def test_every_selector_is_tested_at_every_average(subset, request):
    printed, written = request.getfixturevalue(f'on_{subset}')
    assert written['subset'] == subset
    assert [(row['selector'], row['average_k']) for row in written['results']] == [
        (name, k) for name in SELECTORS for k in AVERAGES
    ]
    for row in written['results']:
        assert IMAGES * row['error'] / 100 == pytest.approx(round(IMAGES * row['error'] / 100))
        # One multiplication may go to rounding.
        assert row['multiplications'] == pytest.approx(
            COARSE_TOWER + HEAD + LAST + BACK + row['patches'] * (PATCH + CHANGE), abs=1
        )
        assert row['patches'] == row['average_k'] or row['selector'] != 'TopKSelector'
    assert printed.count('MassSelector') == 4


def test_the_options_reach_the_average_on_all_of_val(folder, on_val, on_test):
    images, _ = images_of(folder, 'val')
    for row in on_val[1]['results'][len(AVERAGES) :]:
        with torch.no_grad():
            budgets = trained(folder, row).extract_feat(images).cells.budgets.tolist()
        # No single image's step of up to 12 patches brings it nearer from below.
        assert 0 <= row['average_k'] - sum(budgets) / IMAGES <= 12 / IMAGES
    options = [
        [row['options_for_config'] for row in written['results']]
        for _, written in (on_val, on_test)
    ]
    assert options[0] == options[1]


def test_error_and_cost_on_test_are_those_of_the_model_with_these_options(folder, on_test):
    images, labels = images_of(folder, 'test')
    for row in on_test[1]['results'][len(AVERAGES) :]:
        dcn = trained(folder, row)
        with torch.no_grad():
            wrong = (dcn(images).argmax(1) != labels).float().mean()
        assert row['error'] == pytest.approx(100 * wrong.item(), abs=1e-3)
        assert row['multiplications'] == pytest.approx(
            count_multiplications(dcn, images) / IMAGES, abs=1
        )


def test_a_plot_of_error_over_patches_and_over_multiplications_lies_beside_the_figures(
    folder, on_val
):
    assert (folder / 'new' / 'val.png').read_bytes()[:4] == b'\x89PNG'
    rows = on_val[1]['results']
    (axes,) = budget_curve.draw(rows).axes
    points = [point for line in axes.lines for point in line.get_xydata().tolist()]
    assert points == [[row['patches'], row['error']] for row in rows]
    (above,) = axes.child_axes
    for row in rows:
        assert above._functions[0](row['patches']) == pytest.approx(row['multiplications'] / 1e6)


@pytest.mark.parametrize(
    'args, code, complaint',
    [
        ((QUICK, 'nowhere.pth'), 2, 'the file nowhere.pth is not there'),
        ((QUICK, 'README.md', '--out', 'plot.png'), 2, '--out: writes a .json file, got plot.png'),
        (
            (QUICK, 'README.md', '--average-k', 4, 0),
            2,
            'argument --average-k: must be a whole number of at least 1, got 0',
        ),
        (
            (QUICK.replace('dcn-k8-hint_1xb128-4e', 'coarse_1xb128-60e'), 'README.md'),
            1,
            'its model has no selector, so it chooses no patches',
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(args, code, complaint):
    assert complaint in run_tool(TOOL, *args, code=code)


def test_a_saliency_without_entropy_is_named(folder):
    config = folder / 'norm.py'
    config.write_text(
        "_base_ = './config.py'\nmodel = dict(saliency=dict(type='ActivationNorm'))\n"
    )
    printed = run_tool(TOOL, config, folder / 'dcn.pth', code=1)
    assert 'ActivationNorm does not compute the entropy' in printed
