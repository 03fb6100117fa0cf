import json
import subprocess

from .running import python, run_python

CONFIGS = [f'configs/cluttered_mnist/{name}_1xb128-60e_cluttered-mnist.py'
           for name in ('coarse', 'fine', 'dcn-k8-hint')]
TOOL = 'tools/analysis_tools/benchmark.py'


def test_the_table_has_a_row_a_model_with_cost_times_and_error(tmp_path, mnist_root):
    metrics = tmp_path / 'metrics.json'
    metrics.write_text(json.dumps({'accuracy/top1': 98.25}))
    printed = run_python(TOOL, *CONFIGS, '--batch-sizes', 1, 2, '--rounds', 2,
                         '--metrics', f'dcn-k8-hint={metrics}')
    rows = {line.split()[0]: line for line in printed.splitlines() if line.strip()}
    assert '6,357,420' in rows['coarse'] and '82,951,584' in rows['fine']
    assert '19,330,860' in rows['dcn-k8-hint'] and '1.75 %' in rows['dcn-k8-hint']
    assert '%' not in rows['fine']
    assert 'batch 1' in printed and 'batch 2' in printed


def test_metrics_of_an_unknown_model_are_refused():
    done = subprocess.run(**python(TOOL, *CONFIGS, '--metrics', f'dcn={__file__}'))
    assert done.returncode == 2
    assert "--metrics names ['dcn'], but the models are ['coarse', 'fine', 'dcn-k8-hint']" in (
        done.stdout)
