"""Several processes train as one does, whoever starts them."""

import json
import os
import re
import subprocess
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdcn.engine.launch import load_config
from mmdcn.utils.checkpoint import read_checkpoint

from ..conftest import ROOT
from ..models.dcns import build_dcn
from .running import QUICK, environment, free_port, logged, run_tool

STEPS = 20
BATCH = 16  # of all processes together

TWO_PROCESSES = """\
    #!/bin/sh
    exec python {folder}/two_processes.py "${{0##*/}}" "$@"
"""
SCONTROL = """\
    #!/bin/sh
    [ "$*" = "show hostnames machine" ] && echo 127.0.0.1
"""


@pytest.fixture(scope='module')
def starters(tmp_path_factory):
    """A folder with ``srun``, ``scontrol`` and ``mpirun``."""
    folder = tmp_path_factory.mktemp('starters')
    two_processes = TWO_PROCESSES.format(folder=Path(__file__).parent)
    for name, script in dict(srun=two_processes, scontrol=SCONTROL, mpirun=two_processes).items():
        (folder / name).write_text(dedent(script))
        (folder / name).chmod(0o755)
    return folder


SHORT = f"""
train_cfg = dict(max_epochs=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1))
custom_imports = dict(imports=['tests.tools.trained_apart'])
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    **loader, batch_size={BATCH}, dataset=dict(indices={BATCH * STEPS // 2}))
val_dataloader = dict(**loader, dataset=dict(indices=16))
test_dataloader = dict(**loader, dataset=dict(indices=51))
"""


def write_config(path) -> str:
    """The quick config, short, at a fixed rate and with norms that are frozen."""
    path.write_text(f"""
_base_ = {str(ROOT / QUICK)!r}
norm_cfg = dict(type='FrozenBN')
model = dict(coarse=dict(norm_cfg=norm_cfg), fine=dict(norm_cfg=norm_cfg),
             head=dict(norm_cfg=norm_cfg))
param_scheduler = []
{SHORT}""")
    return str(path)


def run(*command, starters=None) -> str:
    env = environment(PORT=free_port(), MASTER_PORT=free_port(), OMP_NUM_THREADS='1')
    if starters is not None:
        env['PATH'] = f'{starters}{os.pathsep}{env["PATH"]}'
    done = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env=env,
        text=True,
        timeout=600,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope='module')
def whole(tmp_path_factory, mnist_root):
    """The work dir of one process that had all images."""
    folder = tmp_path_factory.mktemp('whole')
    config, work = write_config(folder / 'config.py'), folder / 'work'
    run_tool('tools/train.py', config, '--work-dir', work, '--auto-scale-lr')
    return work


def assert_same_weights(found, expected, epoch):
    states = [
        read_checkpoint(folder / f'epoch_{epoch}.pth').weights for folder in (found, expected)
    ]
    assert states[0].keys() == states[1].keys()
    for name, value in states[1].items():
        torch.testing.assert_close(states[0][name], value, rtol=0, atol=1e-5, msg=name)


def train_on_two(config, work, *options) -> str:
    """Train an epoch on two processes, which share the batches of one."""
    return run(
        *('bash', 'tools/dist_train.sh', config, 2, *options),
        *('--work-dir', work, '--auto-scale-lr', '--cfg-options'),
        f'train_dataloader.batch_size={BATCH // 2}',
        'train_cfg.max_epochs=1',
    )


def test_torchrun_and_then_slurm_accumulating_give_the_weights_of_one_process(
    whole, starters, tmp_path
):
    config, work = write_config(tmp_path / 'config.py'), tmp_path / 'work'
    train_on_two(config, work)
    assert_same_weights(work, whole, epoch=1)
    assert not (work / 'epoch_2.pth').exists()
    assert 'resumed epoch: 1' in run(
        'bash',
        'tools/slurm_train.sh',
        'cpu',
        'job',
        config,
        work,
        '--resume',
        '--cfg-options',
        f'train_dataloader.batch_size={BATCH // 4}',
        f'optim_wrapper.optimizer.lr={6e-3 * BATCH / 128}',
        'optim_wrapper.accumulative_counts=2',
        starters=starters,
    )
    assert_same_weights(work, whole, epoch=2)
    rate, half = 6e-3 * BATCH / 128, STEPS // 2
    assert logged(whole, 'lr') == {step: rate for step in range(1, 2 * half + 1)}
    steps = [*range(1, half + 1), *range(2 * half + 1, 4 * half + 1)]
    assert logged(work, 'lr') == dict.fromkeys(steps, rate)


def test_two_processes_that_compile_give_the_weights_of_one_that_does_not(whole, tmp_path):
    config, work = tmp_path / 'compiled.py', tmp_path / 'work'
    config.write_text(f"""
_base_ = {write_config(tmp_path / 'config.py')!r}
custom_imports = dict(imports=['tests.tools.trained_apart', 'tests.tools.quick_compiler'])
""")
    printed = train_on_two(config, work, '--compile')
    assert 'compiles the loss' in printed
    assert_same_weights(work, whole, epoch=1)


def test_two_processes_find_what_one_finds_on_a_test_set_that_does_not_divide(whole, tmp_path):
    found, checkpoint = {}, whole / 'epoch_2.pth'
    for name, start in (
        ('one', lambda *words: run_tool('tools/test.py', *words)),
        ('two', lambda *words: run('bash', 'tools/dist_test.sh', *words[:2], 2, *words[2:])),
    ):
        out = tmp_path / f'{name}.json'
        work = tmp_path / name
        start(
            whole.parent / 'config.py',
            checkpoint,
            *('--work-dir', work, '--out', out, '--out-item', 'metrics'),
        )
        found[name] = json.loads(out.read_text())
    assert found['one'].keys() == {'accuracy/top1', 'patch_hit/mean'}
    assert found['two'] == pytest.approx(found['one'], rel=1e-6)


def test_mpi_validates_and_saves_average_weights_with_all_processes_statistics(
    starters, tmp_path, mnist_root
):
    page = (ROOT / 'docs' / 'training.md').read_text(encoding='utf-8')
    (shown,) = re.findall(
        r'<!-- run by tests/tools/test_distributed.py -->\n```python\n(.*?)```', page, re.DOTALL
    )
    config, work = tmp_path / 'config.py', tmp_path / 'work'
    config.write_text(
        shown.replace("'configs/", f"'{ROOT}/configs/")
        + SHORT
        + dedent("""\
        custom_hooks += [dict(type='KeepStatesHook')]
        model = dict(selector=dict(type='EntropySelector', threshold=100.))  # nothing to look at
        """)
    )
    run(
        'mpirun',
        'python',
        'tools/train.py',
        config,
        '--launcher',
        'mpi',
        '--work-dir',
        work,
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'train_cfg.val_interval=1',
        starters=starters,
    )
    parameters = {name for name, _ in build_dcn().named_parameters()}
    momentum = Config.fromfile(work / 'config.py').custom_hooks[2].momentum
    ranks = [torch.load(work / f'states_{rank}.pth') for rank in (0, 1)]
    saved = read_checkpoint(work / 'epoch_1.pth').weights
    moved = 0
    for name, value in saved.items():
        if value.is_floating_point():
            averages = []
            for rank in ranks:
                first, *others = (state[name].double() for state in rank['steps'])
                average = first
                for other in others:
                    average = (1 - momentum) * average + momentum * other
                averages.append(average)
            if name in parameters:
                assert torch.equal(*averages), name  # gradients are those of both processes
            moved += not torch.equal(*averages)
            expected = torch.stack(averages).mean(0).float()
            for found in (value, *(rank['validated'][name] for rank in ranks)):
                torch.testing.assert_close(found, expected, msg=name)
    assert moved  # the processes had statistics of their own


@pytest.mark.parametrize(
    'launcher, variable',
    [('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID'), ('mpi', 'OMPI_COMM_WORLD_RANK')],
)
def test_a_process_that_no_launcher_started_says_so(launcher, variable):
    with pytest.raises(ValueError, match=f'--launcher {launcher} reads {variable}, which is not'):
        load_config(ROOT / QUICK, launcher=launcher)


def test_mpi_on_several_machines_asks_where_the_processes_meet(monkeypatch):
    for name, value in dict(SIZE=4, LOCAL_SIZE=2, RANK=3, LOCAL_RANK=1).items():
        monkeypatch.setenv(f'OMPI_COMM_WORLD_{name}', str(value))
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_PORT'):
        monkeypatch.setenv(name, 'left over')
    with pytest.raises(ValueError, match='needs the address of the first machine: set MASTER_ADDR'):
        load_config(ROOT / QUICK, launcher='mpi')


def test_sync_bn_synchronises_every_norm_of_a_dcn_and_changes_no_prediction(monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr(
        'mmengine.runner.runner.MMDistributedDataParallel', lambda module, **options: module
    )
    runner = SimpleNamespace(distributed=True, cfg=dict(sync_bn='torch'))
    dcn, images = build_dcn().eval(), torch.rand(2, 1, 100, 100)
    with torch.no_grad():
        saliency, logits = dcn.extract_feat(images).saliency, dcn(images)
        wrapped = Runner.wrap_model(runner, None, dcn).eval()
        assert torch.equal(wrapped.extract_feat(images).saliency, saliency)
        assert torch.equal(wrapped(images), logits)
    norms = [type(part) for part in wrapped.modules() if isinstance(part, _BatchNorm)]
    assert norms == 8 * [nn.SyncBatchNorm]


def test_no_config_searches_for_unused_parameters():
    for folder in ('configs', 'mmdcn', 'tools'):
        for path in (ROOT / folder).rglob('*'):
            if path.suffix in ('.py', '.sh'):
                assert 'find_unused_parameters' not in path.read_text(encoding='utf-8'), path
