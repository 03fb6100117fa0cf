import json
import re
import runpy
import sys
from argparse import Namespace

import numpy as np
import pytest
import torch

from mmdcn.utils.build import read_config

from ..conftest import ROOT
from .running import run_tool

CONFIGS = [
    f'configs/dcn/{name}_1xb128-60e_cluttered-mnist.py'
    for name in ('coarse', 'fine', 'dcn-k8-hint')
]
TOOL = 'tools/analysis_tools/benchmark.py'


@pytest.fixture(autouse=True)
def threads_of_other_tests():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_table_has_a_row_a_model_with_cost_times_and_error(tmp_path, mnist_root):
    metrics = tmp_path / 'metrics.json'
    metrics.write_text(json.dumps({'accuracy/top1': 98.25}))
    printed = run_tool(
        TOOL, *CONFIGS, '--batch-sizes', 1, 2, '--rounds', 2, '--metrics', f'dcn-k8-hint={metrics}'
    )
    table, ratios = printed.split('Ratios')
    rows = {line.split()[0]: line for line in table.splitlines() if line.strip()}
    assert '6,357,420' in rows['coarse'] and '82,951,584' in rows['fine']
    assert '15,939,372' in rows['dcn-k8-hint'] and '1.75 %' in rows['dcn-k8-hint']
    assert '%' not in rows['fine']
    assert 'batch 1' in printed and 'batch 2' in printed
    ratio = next(line for line in ratios.splitlines() if 'fine : dcn-k8-hint' in line)
    assert f'{82_951_584 / 15_939_372:.2f}' in ratio


def test_the_file_has_an_object_a_model_shape_and_batch_and_a_plot_beside_it(tmp_path):
    out = tmp_path / 'new' / 'times.json'
    printed = run_tool(
        TOOL,
        *CONFIGS[1:],
        '--shapes',
        '1x40x60',
        '1x100x100',
        '--batch-sizes',
        1,
        3,
        '--rounds',
        2,
        '--device',
        'cpu',
        '--out',
        out,
    )
    assert 'An image of 1×40×60 on cpu' in printed
    rows = json.loads(out.read_text())
    assert [(row['model'], row['shape'], row['batch']) for row in rows] == [
        (model, size, batch)
        for size in ([1, 40, 60], [1, 100, 100])
        for batch in (1, 3)
        for model in ('fine', 'dcn-k8-hint')
    ]
    assert rows[-1]['multiplications'] == 15_939_372
    for row in rows:
        assert 0 < row['ms_per_image_10'] <= row['ms_per_image'] <= row['ms_per_image_90']
        assert row['peak_bytes'] > 4 * row['batch'] * 24 * row['shape'][1] * row['shape'][2] / 40
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        low, middle, high = one['time_over']['dcn-k8-hint']
        assert 0 < low <= middle <= high
        assert list(one['time_over']) == ['dcn-k8-hint'] and list(other['time_over']) == ['fine']
    assert out.with_suffix('.png').read_bytes().startswith(b'\x89PNG')


def test_the_memory_of_a_training_step_is_that_of_its_feature_maps(tmp_path, mnist_root):
    out = tmp_path / 'times.json'
    printed = run_tool(
        TOOL,
        *CONFIGS[:2],
        '--batch-sizes',
        1,
        '--rounds',
        1,
        '--device',
        'cpu',
        '--training',
        '--out',
        out,
    )
    coarse, fine = json.loads(out.read_text())
    assert 'MB, training step' in printed
    ratio = f'{coarse["training_peak_bytes"] / fine["training_peak_bytes"]:.2f}'
    assert re.search(rf'coarse : fine .* {re.escape(ratio)} *$', printed, re.MULTILINE)
    # The way back needs what goes into and comes out of each norm, 24 channels of float32.
    kept = 2 * 24 * 4 * (98**2 + 98**2 + 49**2 + 49**2 + 22**2)
    assert kept < fine['training_peak_bytes'] < 2 * kept


def test_variants_are_rows_beside_what_they_are_variants_of():
    printed = run_tool(
        TOOL,
        *CONFIGS[1:],
        '--shapes',
        '1x40x60',
        '--batch-sizes',
        1,
        '--rounds',
        1,
        '--variants',
        'as-built',
        'autograd',
    )
    table, ratios = (
        [line.strip() for line in half.splitlines()] for half in printed.split('Ratios')
    )
    names = (
        'fine, as-built',
        'fine',
        'dcn-k8-hint, as-built',
        'dcn-k8-hint, autograd',
        'dcn-k8-hint',
    )
    rows = [line for line in table if line.startswith(('fine', 'dcn'))]
    assert [re.split(r'  +', row)[0] for row in rows] == list(names)
    costs = [int(re.split(r'  +', row)[1].replace(',', '')) for row in rows]
    # 3·5 windows of 8×13 cells. Autograd goes back through all, the closed form through one. Then
    # the head reads all of the refined map, or the changes of 8 cells in 16 windows each.
    windows, patches = 3 * 5, 8
    assert costs[0] == costs[1] and costs[2] == costs[4]
    assert costs[3] - costs[4] == (2 * windows - 1 - patches) * 16 * 24 * 96
    assert any(row.startswith('dcn-k8-hint, autograd : dcn-k8-hint ') for row in ratios)
    assert not any(row.startswith('fine, as-built : dcn-k8-hint ') for row in ratios)


def test_a_compiled_row_times_the_compiled_model_and_counts_the_plain_one(monkeypatch):
    compiling = torch.compile
    monkeypatch.setattr(
        torch,
        'compile',
        lambda model, dynamic, options: compiling(model, dynamic=dynamic, backend='eager'),
    )  # the default would take minutes
    tool = runpy.run_path(str(ROOT / TOOL))
    cfg = read_config(ROOT / CONFIGS[0])
    plain, compiled = tool['rows_of']('coarse', cfg, ['compiled'], 'cpu', (1, 100, 100))
    assert (plain.name, compiled.name) == ('coarse', 'coarse, compiled')
    assert compiled.model is plain.model is plain.run is not compiled.run
    images = torch.rand(2, 1, 100, 100)
    measured = tool['measure']([plain, compiled], images, Namespace(rounds=2, device='cpu'))
    assert [(one.row.name, one.batch, len(one.seconds)) for one in measured] == [
        ('coarse', 2, 2),
        ('coarse, compiled', 2, 2),
    ]
    torch.testing.assert_close(compiled.run(images), plain.run(images))


def test_rows_of_onnx_runtime_have_the_models_multiplications_and_no_memory(tmp_path):
    out = tmp_path / 'times.json'
    options = ('--shapes', '1x100x100', '--batch-sizes', 1, 2, '--rounds', 1, '--device', 'cpu')
    printed = run_tool(TOOL, *CONFIGS[1:], *options, '--variants', 'onnxruntime', '--out', out)
    rows = json.loads(out.read_text())
    models = ('fine', 'fine, onnxruntime', 'dcn-k8-hint', 'dcn-k8-hint, onnxruntime')
    costs = (82_951_584, 82_951_584, 15_939_372, 15_939_372)
    assert [(row['model'], row['multiplications'], row['batch']) for row in rows] == [
        (model, cost, batch) for batch in (1, 2) for model, cost in zip(models, costs, strict=True)
    ]
    assert all(row['ms_per_image'] > 0 for row in rows)
    for row in rows:
        assert (row['peak_bytes'] is None) == row['model'].endswith('onnxruntime')
    lines = [line.rstrip() for line in printed.splitlines()]
    dashes = [line for line in lines if line.endswith('–')]  # the last column is that of memory
    assert len(dashes) == 2 + 3  # two rows, the ratios to them, and the one between them
    assert all('onnxruntime' in line for line in dashes)


def test_a_row_of_onnx_runtime_answers_raw_images_as_the_model_does():
    tool = runpy.run_path(str(ROOT / TOOL))
    cfg = read_config(ROOT / CONFIGS[0])
    _, row = tool['rows_of']('coarse', cfg, ['onnxruntime'], 'cpu', (1, 60, 60))
    for size in (1, 3):
        answer = row.run(torch.empty(size, 1, 60, 60))
        (raw,) = map(torch.from_numpy, row.run.raw.values())
        assert raw.dtype == torch.uint8 and raw.shape == (size, 1, 60, 60)
        with torch.no_grad():
            expected = row.model(row.model.data_preprocessor(dict(inputs=raw))['inputs'])
        torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-4)


def test_a_model_that_onnx_cannot_express_is_refused_in_a_sentence():
    random = 'configs/dcn/dcn-k8-hint-random_1xb128-60e_cluttered-mnist.py'
    options = ('--shapes', '1x60x60', '--device', 'cpu', '--variants', 'onnxruntime')
    printed = run_tool(TOOL, random, *options, code=1)
    assert 'RandomCells draws at random' in printed
    assert 'Traceback' not in printed


def test_onnx_runtime_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    monkeypatch.delitem(sys.modules, 'tools.deploy.export_onnx', raising=False)
    options = ('--shapes', '1x60x60', '--device', 'cpu', '--variants', 'onnxruntime')
    printed = run_tool(TOOL, CONFIGS[0], *options, code=1)
    assert 'Exporting needs onnxruntime, which is not installed: run `pip install' in printed
    assert 'Traceback' not in printed


def test_onnx_runtime_is_refused_on_a_gpu():
    printed = run_tool(TOOL, CONFIGS[0], '--device', 'cuda', '--variants', 'onnxruntime', code=2)
    assert '--variants onnxruntime runs on the CPU: pass --device cpu.' in printed


@pytest.mark.parametrize(
    'options, number, shown',
    [((), 1, 'on cpu, 1 thread '), (('--threads', 2), 2, 'on cpu, 2 threads ')],
)
def test_a_model_runs_with_the_threads_asked_for_or_one(options, number, shown):
    torch.set_num_threads(3)
    size = ('--shapes', '1x60x60', '--batch-sizes', 1, '--rounds', 1, '--device', 'cpu')
    printed = run_tool(TOOL, CONFIGS[0], *size, *options)
    assert torch.get_num_threads() == number
    assert shown in printed.replace('\n', ' ')


def test_the_model_and_batch_whose_times_vary_most_are_named_as_a_sign_of_a_busy_machine():
    tool = runpy.run_path(str(ROOT / TOOL))
    factors = {('fine', 1): 1.6, ('fine', 64): 1.1, ('dcn', 1): 1.2, ('dcn', 64): 2.3}
    measured = [made_up(tool, *key, factor) for key, factor in factors.items()]
    sentence = tool['warning'](measured)
    assert 'dcn at batch 64 ' in sentence and 'fine' not in sentence
    assert ' 2.3 ' in sentence and '1.5' in sentence


def test_times_that_vary_as_on_an_idle_machine_give_no_warning():
    tool = runpy.run_path(str(ROOT / TOOL))
    steady = [made_up(tool, 'fine', size, 1.45) for size in (1, 64)]
    steady[0].seconds[-1] *= 9  # one in 100 is not enough
    assert tool['warning'](steady) == ''


def made_up(tool: dict, name: str, batch: int, factor: float):
    """Return 101 times whose 90th percentile is so many times their 10th."""
    seconds = np.linspace(1, factor, 81)
    seconds = np.concatenate([np.full(10, 1.0), seconds, np.full(10, factor)])
    return tool['Measurement'](tool['Row'](name, '', None, None), (1, 8, 8), batch, seconds, 0)


def test_a_shape_that_is_none_is_refused():
    printed = run_tool(TOOL, CONFIGS[0], '--shapes', '100x100', code=2)
    assert "'100x100' is not like 1x400x900 (channels, height, width)." in printed


def test_metrics_of_an_unknown_model_are_refused():
    printed = run_tool(TOOL, *CONFIGS, '--metrics', f'dcn={__file__}', code=2)
    assert "--metrics names ['dcn'], but the models are ['coarse', 'fine', 'dcn-k8-hint']" in (
        printed
    )


def test_a_ratio_is_that_of_times_in_the_same_turn():
    tool = runpy.run_path(str(ROOT / TOOL))
    one, other = (
        tool['Measurement'](None, (1, 8, 8), 1, np.array(seconds), 0)
        for seconds in ([2.0, 6.0, 12.0], [1.0, 2.0, 3.0])
    )
    np.testing.assert_allclose(tool['ratio'](one, other), [2.2, 3, 3.8])


LARGE = [
    f'configs/dcn/{name}.py'
    for name in (
        'dcn-k10_1xb16-8e_large-images',
        'downsampled_1xb16-8e_large-images',
        'fine_1xb16-30e_megapixel-mnist',
    )
]


@pytest.fixture
def large_file(tmp_path):
    path = tmp_path / 'image.npy'
    np.save(path, np.random.default_rng(0).integers(0, 255, (1024, 1280), dtype=np.uint8))
    return path


def test_from_a_file_a_dcn_stands_beside_itself_in_memory_and_other_networks(tmp_path, large_file):
    out = tmp_path / 'times.json'
    options = ('--from-files', large_file, '--rounds', 2, '--device', 'cpu', '--out', out)
    printed = run_tool(TOOL, *LARGE, *options)
    rows = {(row['model'], row['way']): row for row in json.loads(out.read_text())}
    assert list(rows) == [
        ('dcn-k10', ''),
        ('dcn-k10', 'read whole and shrunk'),
        ('dcn-k10', 'coarse tower alone'),
        ('downsampled', ''),
        ('fine', ''),
    ]
    for row in rows.values():
        assert row['file'] == 'image.npy' and row['shape'] == [1, 1024, 1280]
        assert 0 < row['ms_10'] <= row['ms'] <= row['ms_90']
        parts = sum(low for low, *_ in row['parts_ms'].values())
        assert parts <= row['ms_90'] and row['peak_bytes'] > 0
    assert rows['fine', '']['peak_bytes'] > 4 * 1024 * 1280
    dcn = rows['dcn-k10', '']
    assert list(dcn['parts_ms']) == [
        'open',
        'overview',
        'coarse',
        'select',
        'windows',
        'fine',
        'head',
    ]
    assert len(dcn['time_over']) == 4
    assert dcn['agreement']['same_cells'] and dcn['agreement']['equal_patches']
    assert dcn['agreement']['logits_differ_by'] < 1e-5
    assert 'image.npy, 1024×1280×1' in printed and 'fine' in printed.split('Ratios')[1]


def test_what_needs_more_memory_than_is_free_is_not_run(tmp_path, large_file, monkeypatch):
    from tools.analysis_tools import file_times

    monkeypatch.setattr(file_times, 'free_memory', lambda: 10 * 1024 * 1280)
    monkeypatch.setattr(file_times, 'peak_in_new_process', lambda *_: None)
    out = tmp_path / 'times.json'
    options = ('--from-files', large_file, '--rounds', 1, '--device', 'cpu', '--out', out)
    printed = run_tool(TOOL, LARGE[0], LARGE[2], *options)
    *dcn, fine = json.loads(out.read_text())
    assert all('ms' in row for row in dcn) and 'ms' not in fine
    assert fine['needed_bytes'] > 10 * 1024 * 1280
    assert re.search(r'fine +needs \d+ GB', printed)
    assert 'fine' not in printed.split('Ratios')[1]


@pytest.mark.parametrize(
    'options, sentence',
    [
        (('--shapes', '1x60x60'), '--shapes is not for --from-files: leave one of them out.'),
        (('--training',), '--training is not for --from-files: leave one of them out.'),
        (('--batch-sizes', 2), '--from-files times one image at a time: leave --batch-sizes out.'),
        (('--device', 'cuda'), '--from-files runs on the CPU: pass --device cpu.'),
    ],
)
def test_options_that_do_not_go_with_files_are_refused(options, sentence):
    printed = run_tool(TOOL, CONFIGS[0], '--from-files', __file__, *options, code=2)
    assert sentence in ' '.join(printed.split())
