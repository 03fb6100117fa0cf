import json

import mmengine
import pytest
from mmengine.config import Config
from mmengine.runner import save_checkpoint

from mmdcn.utils.build import build_model

from ..conftest import ROOT
from .running import QUICK, run_tool

TABLE = 'tools/analysis_tools/table2.py'
(WEIGHTS,) = (ROOT / 'checkpoints').glob('dcn-k8-hint_*.pth')
TOWERS = {'coarse-w25_1xb32-10e_svhn': 'epoch_10.pth', 'fine-w25_1xb32-5e_svhn': 'epoch_5.pth'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory, street_numbers_root):
    """A working folder with data and untrained towers where the configs look for them."""
    folder = tmp_path_factory.mktemp('table2')
    (folder / 'data').mkdir()
    (folder / 'data' / 'svhn').symlink_to(street_numbers_root)
    for name, checkpoint in TOWERS.items():
        model = build_model(Config.fromfile(ROOT / 'configs' / 'dcn' / f'{name}.py'))
        save_checkpoint(
            dict(state_dict=model.state_dict()), str(folder / 'work_dirs' / name / checkpoint)
        )
    return folder


def test_a_dcn_needs_no_checkpoint_of_its_own(folder):
    config = ROOT / 'configs' / 'dcn' / 'dcn-k6-w25_svhn.py'
    printed = run_tool(
        'tools/test.py',
        config,
        '--tta',
        '--work-dir',
        'tested',
        '--out',
        'metrics.json',
        '--out-item',
        'metrics',
        folder=folder,
    )
    for name, checkpoint in TOWERS.items():
        assert f'work_dirs/{name}/{checkpoint}' in printed
    assert 'accuracy/sequence' in json.loads((folder / 'metrics.json').read_text())


def test_a_dcn_whose_towers_were_trained_otherwise_is_not_tested(folder):
    config = ROOT / 'configs' / 'dcn' / 'dcn-k6-w25_svhn.py'
    printed = run_tool(
        'tools/test.py', config, '--cfg-options', 'model.coarse.width=.1', folder=folder, code=1
    )
    assert 'epoch_10.pth is of another model than this SVHNCoarse: ' in printed.splitlines()[-1]


def test_weights_of_another_model_are_not_tested(tmp_path, mnist_root):
    config = 'configs/dcn/coarse_1xb128-60e_cluttered-mnist.py'
    printed = run_tool('tools/test.py', config, WEIGHTS, '--work-dir', tmp_path, code=1)
    assert (
        'is of another model than this ImageClassifier: it lacks backbone.layers.0.conv.weight '
        in printed.splitlines()[-1]
    )


def test_table_2_names_the_tower_that_is_missing(tmp_path):
    printed = run_tool(TABLE, folder=tmp_path, code=1)
    name = 'coarse_1xb128-10e_svhn'
    assert printed == (
        f'work_dirs/{name}/epoch_10.pth is missing: run `SVHN_ROOT=data/svhn python '
        f'tools/train.py configs/dcn/{name}.py`.\n'
    )


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([], 'does not name the weights of all parts in an init_cfg: pass a checkpoint.'),
        (['nowhere.pth'], 'The checkpoint nowhere.pth is not there.'),
        ([__file__, '--tta'], 'lacks tta_model and tta_pipeline, which --tta needs.'),
    ],
)
def test_a_test_that_cannot_be_is_refused(arguments, message):
    assert run_tool('tools/test.py', QUICK, *arguments, code=1).rstrip().endswith(message)


@pytest.mark.parametrize(
    'out, item, code, message',
    [
        ('metrics.txt', 'metrics', 2, 'metrics go to a .json, .yaml or .pkl file.'),
        ('predictions.json', 'pred', 2, 'predictions go to a .pkl file;'),
        ('file/metrics.json', 'metrics', 1, 'cannot be written, because '),
        ('file/predictions.pkl', 'pred', 1, 'cannot be written, because '),
    ],
)
def test_results_that_cannot_be_written_are_refused_before_the_test(
    out, item, code, message, tmp_path, mnist_root
):
    (tmp_path / 'file').write_text('')
    arguments = ['--work-dir', tmp_path, '--out', tmp_path / out, '--out-item', item]
    printed = run_tool('tools/test.py', QUICK, WEIGHTS, *arguments, code=code)
    assert message in printed.splitlines()[-1]
    assert 'Epoch(test)' not in printed


@pytest.mark.parametrize('suffix', ['.json', '.yaml', '.pkl'])
def test_metrics_that_are_tensors_are_written_into_a_new_folder(suffix, tmp_path, mnist_root):
    out = tmp_path / 'new' / f'metrics{suffix}'
    config = tmp_path / 'config.py'
    config.write_text(f"""
_base_ = {str(ROOT / QUICK)!r}
test_dataloader = dict(num_workers=0, dataset=dict(indices=20))
test_evaluator = [dict(type='ConfusionMatrix')]
""")
    arguments = ['--work-dir', tmp_path, '--out', out, '--out-item', 'metrics']
    run_tool('tools/test.py', config, WEIGHTS, *arguments)
    matrix = mmengine.load(out)['confusion_matrix/result']
    assert sum(map(sum, matrix)) == 20
    assert [path.name for path in out.parent.iterdir()] == [out.name]
