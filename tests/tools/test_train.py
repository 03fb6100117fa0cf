import os
import signal
import subprocess
import time

import mmengine
import pytest
import torch

from mmdcn.utils.checkpoint import read_checkpoint
from mmdcn.utils.safe_globals import register_safe_globals

from ..conftest import ROOT
from .running import QUICK, TIMEOUT, environment, logged, python, run_python, run_tool

ITERATIONS = 12  # an epoch
BATCH = 16


def options(*more: str) -> list:
    """The quick config on little data."""
    return [
        '--cfg-options',
        f'train_dataloader.batch_size={BATCH}',
        f'train_dataloader.dataset.indices={BATCH * ITERATIONS}',
        'train_dataloader.num_workers=1',
        'val_dataloader.dataset.indices=64',
        'val_dataloader.num_workers=1',
        'test_dataloader.dataset.indices=101',
        'test_dataloader.num_workers=1',
        'train_cfg.max_epochs=3',
        'default_hooks.logger.interval=1',
        *more,
    ]


@pytest.fixture(scope='module')
def trained(tmp_path_factory, mnist_root):
    """Three short epochs that nothing disturbed."""
    work_dir = tmp_path_factory.mktemp('whole')
    run_tool('tools/train.py', QUICK, '--work-dir', work_dir, *options())
    return work_dir


def test_a_killed_run_resumes_on_the_loss_curve_of_one_that_was_not(trained, tmp_path):
    command = ['tools/train.py', QUICK, '--work-dir', tmp_path, '--resume', *options()]
    process = subprocess.Popen(**python(*command))
    first_epoch = tmp_path / 'epoch_1.pth'
    deadline = time.monotonic() + TIMEOUT
    while not (first_epoch.exists() and max(logged(tmp_path, 'loss')) > ITERATIONS):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    killed_at = max(logged(tmp_path, 'loss'))
    assert process.returncode == -signal.SIGKILL and killed_at < 3 * ITERATIONS
    assert not (tmp_path / 'epoch_3.pth').exists()

    output = run_tool(*command)
    assert 'resumed epoch: ' in output
    assert 'resumed epoch: 0' not in output
    assert 'The config differs' not in output
    for key in ('loss', 'loss_cls', 'hint_distance', 'lr', 'patch_hit'):
        expected, found = logged(trained, key), logged(tmp_path, key)
        assert list(found) == list(range(1, 3 * ITERATIONS + 1)) == list(expected)
        for step, value in expected.items():
            assert found[step] == pytest.approx(value, rel=1e-3, abs=1e-5), (key, step)
    weights = [read_checkpoint(folder / 'epoch_3.pth').weights for folder in (trained, tmp_path)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=1e-4)


def test_resuming_a_finished_run_ends_at_once_and_harms_nothing(trained):
    before = (trained / 'epoch_3.pth').stat().st_mtime_ns
    run_tool('tools/train.py', QUICK, '--work-dir', trained, '--resume', *options())
    assert (trained / 'epoch_3.pth').stat().st_mtime_ns == before


def test_resuming_from_a_named_checkpoint_goes_on_from_it(trained, tmp_path):
    output = run_tool(
        'tools/train.py',
        QUICK,
        '--work-dir',
        tmp_path,
        '--resume',
        trained / 'epoch_2.pth',
        *options(),
    )
    assert 'resumed epoch: 2' in output
    expected, found = logged(trained, 'loss'), logged(tmp_path, 'loss')
    assert list(found) == list(range(2 * ITERATIONS + 1, 3 * ITERATIONS + 1))
    assert all(value == pytest.approx(expected[step], rel=1e-3) for step, value in found.items())


def test_predictions_are_dumped_with_where_the_network_looked(trained, tmp_path):
    out = tmp_path / 'predictions.pkl'
    run_tool(
        'tools/test.py',
        QUICK,
        trained / 'epoch_3.pth',
        '--work-dir',
        tmp_path,
        '--out',
        out,
        *options(),
    )
    predictions = mmengine.load(out)
    assert len(predictions) == 101
    assert predictions[0]['patch_bboxes'].shape == (8, 4)
    assert predictions[0]['saliency'].shape == (23, 23)


def test_slurm_runs_the_tool_once_a_gpu(tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\necho "$@"\n')
    srun.chmod(0o755)
    env = environment(GPUS='4', SRUN_ARGS='--exclusive --qos=low')
    env['PATH'] = f'{tmp_path}{os.pathsep}{env["PATH"]}'
    printed = subprocess.run(
        ['bash', 'tools/slurm_train.sh', 'gpu', 'job', QUICK, 'work', '--amp'],
        cwd=ROOT,
        env=env,
        text=True,
        capture_output=True,
        check=True,
    ).stdout.split()
    assert {
        '--partition=gpu',
        '--job-name=job',
        '--gres=gpu:4',
        '--ntasks=4',
        '--exclusive',
        '--qos=low',
    } <= set(printed)
    assert printed[-7:] == [
        'tools/train.py',
        QUICK,
        '--work-dir',
        'work',
        '--launcher',
        'slurm',
        '--amp',
    ]


@pytest.mark.parametrize('script', ['dist_train', 'dist_test', 'slurm_train'])
def test_a_launcher_without_arguments_says_how_it_is_called(script):
    done = subprocess.run(['bash', f'tools/{script}.sh'], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 2
    assert f'tools/{script}.sh' in done.stderr and '[arguments of tools/' in done.stderr


def test_mixed_precision_trains_on_the_cpu_as_well(tmp_path, mnist_root):
    run_python(
        'tools/train.py',
        QUICK,
        '--amp',
        '--work-dir',
        tmp_path,
        *options('train_cfg.max_epochs=1', 'train_dataloader.dataset.indices=48'),
        CUDA_VISIBLE_DEVICES='-1',
    )
    assert list(logged(tmp_path, 'loss')) == [1, 2, 3]
    register_safe_globals()  # onedl-mmengine's loader takes them away again
    optimizer = torch.load(tmp_path / 'epoch_1.pth')['optimizer']
    assert optimizer['loss_scaler']['scale'] == 2**16  # no step has overflown
