"""Reproduces on a few images, and checks that pages say what the files of results say."""

import json
import os
import re
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config

from tools import reproduce
from tools.dev_tools.fill_results import fill
from tools.reproduction.processes import ToolError, stopping_tools
from tools.reproduction.processes import run_tool as run_in_process
from tools.reproduction.results import metafile_results, render
from tools.reproduction.scalars import read_scalars

from ..conftest import ROOT
from .running import TIMEOUT, run_tool

TOOL = 'tools/reproduce.py'
FILL = 'tools/dev_tools/fill_results.py'
TABLE1 = ('table1', '--quick', '--models', 'coarse', 'dcn-k8-hint', '--clutter', 'fixed')
COARSE_ONLY = ('table1', '--quick', '--models', 'coarse', '--clutter', 'fixed')
COARSE, FINE, DCN = (
    f'{name}_1xb128-60e_cluttered-mnist' for name in ('coarse', 'fine', 'dcn-k8-hint')
)
QUICK = 'work_dirs/reproduce-quick'


@pytest.fixture(scope='module')
def folder(tmp_path_factory, mnist_root):
    """A working folder in which a DCN and two seeds of a coarse model were reproduced."""
    folder = tmp_path_factory.mktemp('reproduce')
    (folder / 'data').mkdir()
    (folder / 'data' / 'mnist').symlink_to(mnist_root)
    run_tool(TOOL, *TABLE1, '--epochs', 2, '--seeds', 0, folder=folder)
    run_tool(TOOL, *COARSE_ONLY, '--epochs', 2, '--seeds', 0, 1, folder=folder)
    return folder


def run_of(folder, config, seed, kind='-2e'):
    return folder / QUICK / 'table1' / f'{config}-seed{seed}{kind}'


def result_of(folder, name):
    return json.loads((folder / QUICK / 'results' / f'{name}.json').read_text())


def test_the_file_has_every_run_and_the_spread_of_its_errors(folder):
    result = result_of(folder, 'table1')
    assert [
        (run['config'], run['seed'], run['clutter'], run['epochs']) for run in result['runs']
    ] == [
        (f'configs/dcn/{config}.py', seed, 'fixed', 2)
        for config, seed in ((COARSE, 0), (COARSE, 1), (DCN, 0))
    ]
    rows = {row['label']: row for row in result['rows']}
    assert len(rows) == 8
    assert not any('fixed' in rows[f'DCN, hints, {k} patches, augmented'] for k in (8, 24))
    errors = []
    for seed in (0, 1):
        tested = json.loads((run_of(folder, COARSE, seed) / 'test.json').read_text())
        errors.append(100 - tested['accuracy/top1'])
    one, other = errors
    coarse = rows['Coarse model']
    assert coarse['fixed'] == dict(
        errors=errors,
        mean=pytest.approx((one + other) / 2),
        std=pytest.approx(abs(one - other) / 2**0.5),
    )
    assert coarse['fresh'] == dict(errors=[], mean=None, std=None)


def test_the_file_says_where_its_figures_come_from(folder):
    result = result_of(folder, 'table1')
    assert result['command'] == (
        'python tools/reproduce.py table1 --quick --epochs 2 --seeds 0 1 '
        '--clutter fixed --models coarse dcn-k8-hint'
    )
    assert result['quick'] is True and result['seeds'] == [0, 1]
    assert {'python', 'torch', 'mmengine', 'mmpretrain'} <= set(result['versions'])
    for run in result['runs']:
        (start,) = run['starts']
        assert re.fullmatch(r'[0-9a-f]{40}\+?|unknown', start['commit']) and start['device']
        assert start['commit'] in result['commits'] and start['device'] in result['devices']


def test_a_run_has_its_seed_and_a_schedule_that_ends_with_it(folder):
    for config, seed in ((DCN, 0), (COARSE, 1)):
        cfg = Config.fromfile(run_of(folder, config, seed) / f'{config}.py')
        assert cfg.randomness.seed == seed and cfg.train_cfg.max_epochs == 2
        assert [(step.begin, step.end) for step in cfg.param_scheduler] == [(0, 0.5), (0.5, 2)]
        assert not cfg.train_dataloader.dataset.get('regenerate')
    rates = read_scalars(run_of(folder, DCN, 0), 'lr')
    assert max(rates, key=rates.get) in (4, 5) and len(rates) == 16
    assert rates[16] < 0.1 * max(rates.values())


def test_what_was_cut_off_goes_on_and_what_is_done_stays_as_it_is(folder):
    cut, whole = run_of(folder, COARSE, 1), run_of(folder, COARSE, 0)
    for name in ('run.json', 'test.json', 'epoch_2.pth'):
        (cut / name).unlink()
    (cut / 'last_checkpoint').write_text(str(cut / 'epoch_1.pth'))
    before = result_of(folder, 'table1')
    dates = {path: path.stat().st_mtime_ns for path in whole.rglob('*')}
    printed = run_tool(TOOL, *COARSE_ONLY, '--epochs', 2, '--seeds', 0, 1, folder=folder)
    assert 'coarse, seed 1, fixed clutter: went on after epoch 1, test error ' in printed
    assert printed.count(': was done') == 1
    assert {path: path.stat().st_mtime_ns for path in whole.rglob('*')} == dates
    assert 'resumed epoch: 1' in (cut / 'train.log').read_text()
    assert (cut / 'epoch_2.pth').is_file()
    for one, other in zip(before['rows'], result_of(folder, 'table1')['rows'], strict=True):
        assert one['fresh'] == other['fresh']
        if 'fixed' in one:
            assert one['fixed']['errors'] == pytest.approx(other['fixed']['errors'])


def test_a_run_whose_config_has_changed_is_not_mixed_with_others(folder):
    kept = run_of(folder, COARSE, 0) / 'settings.json'
    before = kept.read_text()
    settings = json.loads(before)
    settings['param_scheduler'][0]['end'] += 1
    kept.write_text(json.dumps(settings))
    printed = run_tool(TOOL, *COARSE_ONLY, '--epochs', 2, '--seeds', 0, folder=folder, code=1)
    kept.write_text(before)
    assert (
        f'{COARSE}.py has changed since {QUICK}/table1/{COARSE}-seed0-2e was begun '
        '(param_scheduler): remove that folder'
    ) in ' '.join(printed.split())


def test_a_table_keeps_the_runs_of_other_seeds_and_clutter(folder):
    run_tool(
        TOOL,
        'table1',
        '--quick',
        '--models',
        'coarse',
        '--clutter',
        'fresh',
        '--epochs',
        2,
        '--seeds',
        3,
        folder=folder,
    )
    run = run_of(folder, COARSE, 3, '-fresh-2e')
    cfg = Config.fromfile(run / f'{COARSE}.py')
    assert cfg.train_dataloader.dataset.regenerate is True
    coarse = result_of(folder, 'table1')['rows'][0]
    assert len(coarse['fixed']['errors']) == 2 and len(coarse['fresh']['errors']) == 1
    assert coarse['fresh']['std'] is None


def test_mixed_precision_is_used_where_asked_for_and_kept_apart(folder):
    run_tool(TOOL, *COARSE_ONLY, '--seeds', 0, '--amp', folder=folder)
    result = result_of(folder, 'table1-amp')
    (run,) = result['runs']
    assert result['amp'] is True and run['amp'] is True
    cfg = Config.fromfile(run_of(folder, COARSE, 0, '-1e-amp') / f'{COARSE}.py')
    assert 'Amp' in cfg.optim_wrapper.type
    assert not any(run['amp'] for run in result_of(folder, 'table1')['runs'])


def test_figures_2_and_3_take_the_runs_of_the_table(folder):
    printed = run_tool(TOOL, 'fig2', '--quick', '--epochs', 2, folder=folder)
    assert 'dcn-k8-hint, seed 0, fixed clutter: was done' in printed
    curves = result_of(folder, 'fig2')['curves']
    logged = read_scalars(run_of(folder, DCN, 0), 'hint_distance')
    assert dict(zip(curves[1]['iterations'], curves[1]['distances'], strict=True)) == logged

    run_tool(TOOL, 'fig3', '--quick', '--epochs', 2, folder=folder)
    rows = result_of(folder, 'fig3')['rows']
    assert [row['patches'] for row in rows if row['selector'] == 'TopKSelector'] == [
        1,
        2,
        4,
        8,
        16,
        32,
    ]
    saliency = result_of(folder, 'fig3')['saliency']
    assert {row['saliency'] for row in saliency} == {
        'EntropyGradient',
        'ClassActivation',
        'ActivationNorm',
        'RandomCells',
        'OracleCells',
    }
    for picture in ('fig2', 'fig3-patches', 'fig3-error', 'fig3-saliency'):
        path = folder / QUICK / 'results' / f'{picture}.png'
        assert path.read_bytes().startswith(b'\x89PNG')


def test_budgets_stand_beside_the_fine_model(folder):
    run_tool(TOOL, 'budgets', '--quick', '--seeds', 0, '--clutter', 'fixed', folder=folder)
    result = result_of(folder, 'budgets')
    fine, *adaptive = result['rows']
    assert fine['fixed']['multiplications'] == 82_951_584 and fine['fixed']['patches'] is None
    tested = json.loads((run_of(folder, FINE, 0, '-1e') / 'test.json').read_text())
    assert fine['fixed']['errors'] == [100 - tested['accuracy/top1']]
    assert [row['average_k'] for row in adaptive] == [8, 4]
    for row in adaptive:
        (options,) = row['fixed']['options']
        assert options['full_threshold'] > options['threshold'] > 0
        assert row['fixed']['patches'] <= options['k']
        coarse = 6_357_420 + 37_824 + 960  # with the way back and the head's last layer
        patch = 1_156_032 + 36_864
        expected = coarse + patch * row['fixed']['patches']
        assert row['fixed']['multiplications'] == pytest.approx(expected, rel=1e-6)
    text = render(folder / QUICK / 'results', 'budgets')
    assert '| DCN, adaptive, 4 patches |' in text and '| Fine model |' in text


def test_table_2_trains_both_towers_and_tests_its_rows_once(
    tmp_path, street_numbers_root, monkeypatch
):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'street-numbers').symlink_to(street_numbers_root)
    run_tool(TOOL, 'table2', '--quick', '--width', 'w25', '--seeds', 1, folder=tmp_path)
    result = result_of(tmp_path, 'table2-w25')
    assert len(result['rows']) == 16 and result['seeds'] == [1]
    table = render(tmp_path / QUICK / 'results', 'table2-w25')
    errors = {row['label']: row['mean'] for row in result['rows']}
    gain = errors['DCN, 6 patches, 1 scale'] / errors['Fine model, 1 scale']
    assert f"| DCN: error over the fine model's, 1 scale | 0.79 | {gain:.2f} |" in table
    assert (tmp_path / QUICK / 'results' / 'table2-w25-patches.png').is_file()
    tested = tmp_path / QUICK / 'table2-w25' / 'seed1' / 'work_dirs' / 'table2'
    for row in result['rows']:
        metrics = json.loads((tested / f'{row["name"]}.json').read_text())
        assert row['errors'] == [pytest.approx(100 - metrics['accuracy/sequence'])]

    monkeypatch.setenv('SVHN_ROOT', 'data/street-numbers')
    same = ('--cfg-options', 'test_dataloader.dataset.indices=4', 'test_dataloader.num_workers=0')
    printed = run_tool(
        'tools/analysis_tools/table2.py', '--width', 'w25', *same, folder=tested.parents[1]
    )
    assert 'Sequence error' in printed and 'Epoch(test)' not in printed
    rows = [line.split() for line in printed.splitlines() if 'scale' in line]
    paper = '40.6 40.0 40.0 25.2 23.7 23.3 31.4 31.1 30.8 20.0 18.2 16.6 – – – 11.6'
    assert [row[-2] for row in rows] == paper.split()
    for row, error in zip(result['rows'], rows, strict=True):
        assert float(error[-1]) == pytest.approx(row['mean'], abs=0.06)


def test_figure_5_counts_and_costs_are_timed_on_the_device_that_is_named(tmp_path, mnist_root):
    run_tool(TOOL, 'fig5', '--quick', '--device', 'cpu', folder=tmp_path)
    sizes = {
        tuple(row['shape']): row['total']
        for row in result_of(tmp_path, 'fig5')['rows']
        if row['label'].startswith('fine')
    }
    assert sizes[1, 54, 110] < sizes[1, 432, 880]

    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'mnist').symlink_to(mnist_root)
    run_tool(TOOL, 'cost', '--quick', '--device', 'cpu', folder=tmp_path)
    result = result_of(tmp_path, 'cost')
    timings = result['timings']
    assert {row['device'] for row in timings} == {'cpu'}
    assert {row['model'] for row in timings} >= {'fine', 'fine, as-built', 'dcn-k8-hint, autograd'}
    assert {row['dataset'] for row in result['datasets']} == {'ClutteredMNIST', 'MegapixelMNIST'}
    (dcn,) = (row for row in timings if row['model'] == 'dcn-k10')
    part = render(tmp_path / QUICK / 'results', 'cost:megapixel-mnist')
    assert f'{dcn["training_peak_bytes"] / 1e6:.1f}' in part and 'dcn-k8-hint' not in part


def test_large_images_are_timed_from_their_files_and_a_training_is_watched(tmp_path):
    run_tool(TOOL, 'large_images', '--quick', folder=tmp_path)
    result = result_of(tmp_path, 'large_images')
    found = {(row['file'], row['model'], row['way']) for row in result['timings']}
    assert len(found) == 3 * 5
    assert result['models']['dcn']['coarse_scale'] == 1 / 32
    equal, logits, *_ = result['goals']
    assert equal['met'] and logits['met'] and logits['found'] <= 1e-5
    assert result['reading']['windows'] == 20 and result['reading']['windows_seconds'] > 0
    assert len(result['soak']['checks']) == 20 and result['soak']['descriptors_more'] < 10
    text = render(tmp_path / QUICK / 'results', 'large_images')
    assert '| pyramid-1200.tif, 1200×1200 |' in text and '| dcn, coarse tower alone |' in text


@pytest.mark.parametrize(
    'allotted, device, seen',
    [
        ('', 'cuda:1', '1'),
        ('4,6', 'cuda:1', '6'),
        ('4', 'cuda:1', '-1'),
        ('4,6', 'cuda', '4,6'),
        ('4,6', 'cpu', '-1'),
    ],
)
def test_a_gpu_is_one_of_those_allotted(monkeypatch, allotted, device, seen):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', allotted)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    reproduce.choose_device(device)
    assert os.environ['CUDA_VISIBLE_DEVICES'] == seen


def test_counts_are_taken_and_times_only_where_wanted(tmp_path):
    run_tool(TOOL, 'cost', '--quick', '--no-timing', folder=tmp_path)
    result = result_of(tmp_path, 'cost')
    assert {row['label']: row['total'] for row in result['rows']} == {
        'coarse': 6_357_420,
        'fine': 82_951_584,
        'dcn-k8-hint': 15_939_372,
        'dcn-k24-hint': 35_025_708,
    }  # worked out in tests/analysis/test_cost.py
    assert result['timings'] == [] and not list(tmp_path.rglob('times-*.json'))


@pytest.mark.parametrize(
    'args, code, complaint',
    [
        (['table1', '--device', 'tpu'], 2, "--device takes 'cpu', 'cuda' or 'cuda:1', got 'tpu'"),
        (
            ['table1', '--epochs', 0],
            2,
            'argument --epochs: must be a whole number of at least 1, got 0',
        ),
        (
            ['table2', '--epochs', 3],
            2,
            '--epochs is for table1, budgets, fig2 and fig3, not for table2',
        ),
        (['cost', '--amp'], 2, '--amp is for table1, budgets, fig2 and fig3, not for cost'),
        (
            ['table2', '--dataset', 'svhn', '--width', 'w25'],
            2,
            "has towers of the paper's width only",
        ),
        (['fig2', '--models', 'coarse'], 2, '--models is for table1, not for fig2'),
        (['fig3', '--clutter', 'fixed'], 2, '--clutter is for table1 and budgets, not for fig3'),
        (['cost', '--width', 'w25'], 2, '--width is for table2, not for cost'),
        (['table1', '--no-timing'], 2, '--no-timing is for cost, not for table1'),
        (
            ['table1', '--models', 'dcn-k8-hint-augmented', '--clutter', 'fixed'],
            1,
            'dcn-k8-hint-augmented has no column for fixed clutter',
        ),
        (
            ['table1', '--seeds', -1],
            2,
            'argument --seeds: must be a whole number of at least 0, got -1',
        ),
        (
            ['table1'],
            1,
            'data/mnist is missing: run `python tools/dataset_converters/prepare_mnist.py',
        ),
        (['table2'], 1, 'is missing: run `python tools/dataset_converters/make_street_numbers.py'),
        (['table2', '--dataset', 'svhn'], 1, 'dataset_converters/prepare_svhn.py --out data/svhn`'),
    ],
)
def test_what_cannot_be_reproduced_is_refused_in_a_sentence(tmp_path, args, code, complaint):
    printed = run_tool(TOOL, *args, folder=tmp_path, code=code)
    assert complaint in ' '.join(printed.split())
    assert not list(tmp_path.iterdir())


def test_a_script_that_fails_is_named_with_the_end_of_its_output(tmp_path, mnist_root):
    broken = tmp_path / 'data' / 'mnist'
    broken.mkdir(parents=True)
    (broken / 't10k-labels-idx1-ubyte').write_bytes(b'')
    printed = run_tool(TOOL, *TABLE1, '--seeds', 0, folder=tmp_path, code=1)
    assert 'train-images-idx3-ubyte is missing' in printed
    assert 'train.py has failed (exit code 1); all of its output is in ' in printed
    assert not list(tmp_path.rglob('table1.json'))


def test_tools_do_not_outlive_an_interruption(tmp_path, monkeypatch):
    log = tmp_path / 'log'
    (tmp_path / 'sleeping_tool.py').write_text(
        'import os, time\n'
        'def main(argv):\n'
        '    os.fork()\n'
        '    print(argv[0], os.getpid(), flush=True)\n'
        '    time.sleep(600)\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(KeyboardInterrupt), stopping_tools():
            sleeping = pool.submit(run_in_process, 'sleeping_tool', ['begun'], log=log)
            while not log.is_file() or log.read_text().count('begun') < 2:
                time.sleep(0.05)
            raise KeyboardInterrupt
        with pytest.raises(ToolError, match='sleeping_tool.py has failed .exit code -9.'):
            sleeping.result(TIMEOUT)
    deadline = time.monotonic() + TIMEOUT
    for pid in re.findall(r'begun (\d+)', log.read_text()):
        while runs(pid):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def runs(pid):
    try:
        return ') Z ' not in Path('/proc', pid, 'stat').read_text()  # ended, but not reaped
    except (FileNotFoundError, ProcessLookupError):
        return False


# Pages


def test_the_commands_that_pages_show_are_taken():
    pages = [
        ROOT / 'README.md',
        *(ROOT / 'results').glob('*.md'),
        ROOT / TOOL,
        *(ROOT / 'configs').glob('*/README.md'),
    ]
    shown = {
        found
        for page in pages
        for found in re.findall(r'python (tools/reproduce\.py [\w -]+)', page.read_text('utf-8'))
    }
    assert len(shown) > 8
    for command in shown:
        reproduce.parse_args(command.split()[1:])


def test_all_pages_have_the_figures_of_the_files_of_results():
    run_tool(FILL, '--check')


def cell(*errors):
    return dict(
        errors=list(errors),
        mean=statistics.fmean(errors) if errors else None,
        std=statistics.stdev(errors) if len(errors) > 1 else None,
    )


@pytest.fixture
def results(tmp_path):
    """Made-up results of a full run and of shorter ones."""
    for name, shortened, fixed in (
        ('table1', None, (1.0, 2.0)),
        ('table1-4e', 60, (3.0,)),
        ('table1-4e-amp', 60, (4.0,)),
    ):
        (tmp_path / f'{name}.json').write_text(
            json.dumps(
                dict(
                    name=name,
                    command='COMMAND',
                    quick=False,
                    amp=name.endswith('amp'),
                    commits=['a' * 40, 'b' * 40 + '+'],
                    devices=['DEVICE'],
                    torch=['2.12'],
                    epochs=4,
                    evaluated=dict(commit='d' * 40),
                    seeds=[0, 1],
                    shortened=shortened,
                    reference=dict(paper='PAPER', public='PUBLIC'),
                    rows=[
                        dict(
                            label='Coarse model',
                            config=f'configs/dcn/{COARSE}.py',
                            paper=3.69,
                            public=None,
                            fixed=cell(*fixed),
                            fresh=cell(),
                        ),
                        dict(
                            label='Best DCN',
                            config='configs/dcn/best.py',
                            paper=None,
                            public=None,
                            fresh=cell(),
                        ),
                    ],
                )
            )
        )
    return tmp_path


def test_a_table_shows_mean_spread_source_and_what_was_not_run(results):
    whole, short, mixed = render(results, 'table1').split('</sub>')[:3]
    assert '| Coarse model | 3.69 | – | 1.50 ± 0.71 (2) | not run yet |' in whole
    assert 'Paper: PAPER.' in whole
    assert (
        '`COMMAND`, commit aaaaaaaaaa, bbbbbbbbbb+, on DEVICE, torch 2.12; put together at '
        'dddddddddd'
    ) in whole
    assert '| Best DCN | – | – | – | not run yet |' in whole
    assert '| 3.00 (1) | not run yet |' in short and 'Best DCN' not in short
    assert '**Shortened: 4 epochs in place of 60, seeds: 0, 1.**' in short
    assert '| 4.00 (1) |' in mixed
    assert '**Shortened: 4 epochs in place of 60 in mixed precision, seeds: 0, 1.**' in mixed


def test_single_runs_are_listed_with_what_differs_from_their_configs(tmp_path):
    (tmp_path / 'tests').mkdir()
    for name, accuracy in (
        ('dcn_digits', 98.125),
        ('dcn_digits.12-epochs', 90.0),
        ('dcn_other', 1),
    ):
        (tmp_path / 'tests' / f'{name}.json').write_text(
            json.dumps(
                {'accuracy/top1': accuracy, **({'patch_hit/mean': 75.0} if accuracy > 95 else {})}
            )
        )
    assert render(tmp_path, 'tests:digits').splitlines()[2:] == [
        '| `dcn_digits` | 1.88 | 75.00 |',
        '| `dcn_digits`, 12 epochs | 10.00 | – |',
    ]


def test_regions_are_filled_and_all_else_stays(results):
    page = (
        'Before\n<!-- results: table1 -->\nold\n<!-- end of results -->\nbetween\n'
        '<!-- results: fig5 -->\n<!-- end of results -->\nafter\n'
    )
    filled = fill(page, results, results.parent)
    assert filled.startswith('Before\n<!-- results: table1 -->\n\n|') and 'old' not in filled
    assert filled.endswith(
        '\n<!-- end of results -->\nbetween\n<!-- results: fig5 -->\n\n*Full run: not done yet '
        '(`python tools/reproduce.py fig5`).*\n\n<!-- end of results -->\nafter\n'
    )
    assert fill(filled, results, results.parent) == filled
    with pytest.raises(ValueError, match="There is no experiment 'table9': take one of table1"):
        render(results, 'table9')


def test_a_metafile_gets_the_accuracies_of_table_2(tmp_path):
    name = 'dcn-k6-w25_street-numbers'
    (tmp_path / 'table2-w25.json').write_text(
        json.dumps(
            dict(
                rows=[
                    dict(
                        label='DCN',
                        name=name,
                        config='configs/dcn/dcn-k6-w25_svhn.py',
                        **cell(40.0, 50.0),
                    )
                ]
            )
        )
    )
    (found,) = yaml.safe_load(metafile_results(tmp_path, name))['Results']
    assert found == {
        'Dataset': 'Street numbers',
        'Task': 'Image Classification',
        'Metrics': {'Sequence Accuracy': 55.0, 'Runs': 2},
    }


def test_a_metafile_gets_the_accuracy_of_full_trainings_only(results):
    entry = 'Models:\n  - Name: {0}\n    # results: {0}\n    # end of results\n  - Name: next\n'
    models = yaml.safe_load(fill(entry.format(COARSE), results, results))['Models']
    assert models[0]['Results'][0]['Metrics'] == {'Top 1 Accuracy': 98.5, 'Runs': 2}
    assert models[1] == {'Name': 'next'}
    assert metafile_results(results, DCN) == ''
    (results / 'tests').mkdir()
    (results / 'tests' / f'{DCN}.json').write_text(json.dumps({'accuracy/top1': 98.125}))
    (found,) = yaml.safe_load(metafile_results(results, DCN))['Results']
    assert found['Metrics'] == {'Top 1 Accuracy': 98.12, 'Runs': 1}
    (results / 'table1.json').unlink()
    assert metafile_results(results, COARSE) == ''
