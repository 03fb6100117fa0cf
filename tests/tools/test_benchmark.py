import json

from .running import run_tool

CONFIGS = [f'configs/cluttered_mnist/{name}_1xb128-60e_cluttered-mnist.py'
           for name in ('coarse', 'fine', 'dcn-k8-hint')]
TOOL = 'tools/analysis_tools/benchmark.py'


def test_the_table_has_a_row_a_model_with_cost_times_and_error(tmp_path, mnist_root):
    metrics = tmp_path / 'metrics.json'
    metrics.write_text(json.dumps({'accuracy/top1': 98.25}))
    printed = run_tool(TOOL, *CONFIGS, '--batch-sizes', 1, 2, '--rounds', 2,
                         '--metrics', f'dcn-k8-hint={metrics}')
    table, ratios = printed.split('Ratios')
    rows = {line.split()[0]: line for line in table.splitlines() if line.strip()}
    assert '6,357,420' in rows['coarse'] and '82,951,584' in rows['fine']
    assert '19,330,860' in rows['dcn-k8-hint'] and '1.75 %' in rows['dcn-k8-hint']
    assert '%' not in rows['fine']
    assert 'batch 1' in printed and 'batch 2' in printed
    ratio = next(line for line in ratios.splitlines() if 'fine : dcn-k8-hint' in line)
    assert f'{82_951_584 / 19_330_860:.2f}' in ratio


def test_the_file_has_an_object_a_model_shape_and_batch_and_a_plot_beside_it(tmp_path):
    out = tmp_path / 'new' / 'times.json'
    printed = run_tool(TOOL, *CONFIGS[1:], '--shapes', '1x40x60', '1x100x100', '--batch-sizes', 1,
                         3, '--rounds', 2, '--device', 'cpu', '--out', out)
    assert 'An image of 1×40×60 on cpu' in printed
    rows = json.loads(out.read_text())
    assert [(row['model'], row['shape'], row['batch']) for row in rows] == [
        (model, size, batch) for size in ([1, 40, 60], [1, 100, 100]) for batch in (1, 3)
        for model in ('fine', 'dcn-k8-hint')]
    assert rows[-1]['multiplications'] == 19_330_860
    for row in rows:
        assert 0 < row['ms_per_image_10'] <= row['ms_per_image'] <= row['ms_per_image_90']
        assert row['peak_bytes'] > 4 * row['batch'] * 24 * row['shape'][1] * row['shape'][2] / 40
    assert out.with_suffix('.png').read_bytes().startswith(b'\x89PNG')


def test_a_shape_that_is_none_is_refused():
    printed = run_tool(TOOL, CONFIGS[0], '--shapes', '100x100', code=2)
    assert "'100x100' is not like 1x400x900 (channels, height, width)." in printed


def test_metrics_of_an_unknown_model_are_refused():
    printed = run_tool(TOOL, *CONFIGS, '--metrics', f'dcn={__file__}', code=2)
    assert "--metrics names ['dcn'], but the models are ['coarse', 'fine', 'dcn-k8-hint']" in (
        printed)
