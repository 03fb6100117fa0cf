"""Several processes train as one does, whoever starts them."""
import os
import re
import subprocess
from argparse import Namespace
from textwrap import dedent
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import mmdcn  # noqa: F401  (lets torch.load read checkpoints)
from mmdcn.engine.launch import load_config

from ..conftest import ROOT
from ..models.dcns import build_dcn
from .running import QUICK, environment, free_port, logged

STEPS = 20
BATCH = 32  # of all processes together

# In place of srun and mpirun: two processes on this machine, each told which one it is.
TWO_OF_SLURM = """\
    #!/bin/sh
    while [ "${1#-}" != "$1" ]; do shift; done
    export SLURM_NTASKS=2 SLURM_NODELIST=machine
    SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & SLURM_PROCID=0 SLURM_LOCALID=0 "$@" && wait $!
"""
TWO_OF_MPI = """\
    #!/bin/sh
    export OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_SIZE=2
    OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_LOCAL_RANK=1 "$@" &
    OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_LOCAL_RANK=0 "$@" && wait $!
"""
SCONTROL = """\
    #!/bin/sh
    [ "$*" = "show hostnames machine" ] && echo 127.0.0.1
"""


@pytest.fixture(scope='module')
def starters(tmp_path_factory):
    """A folder with ``srun``, ``scontrol`` and ``mpirun``."""
    folder = tmp_path_factory.mktemp('starters')
    for name, script in dict(srun=TWO_OF_SLURM, scontrol=SCONTROL, mpirun=TWO_OF_MPI).items():
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
val_dataloader = dict(**loader, dataset=dict(indices=64))
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
    done = subprocess.run(list(map(str, command)), cwd=ROOT, env=env, text=True, timeout=600,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope='module')
def whole(tmp_path_factory, mnist_root):
    """The work dir of one process that had all images."""
    folder = tmp_path_factory.mktemp('whole')
    config, work = write_config(folder / 'config.py'), folder / 'work'
    run('python', 'tools/train.py', config, '--work-dir', work, '--auto-scale-lr')
    return work


def assert_same_weights(found, expected):
    states = [torch.load(folder / 'epoch_2.pth')['state_dict'] for folder in (found, expected)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[1].items():
        torch.testing.assert_close(states[0][name], value, rtol=0, atol=1e-5, msg=name)


HALF = ['--auto-scale-lr', '--cfg-options', f'train_dataloader.batch_size={BATCH // 2}']


def test_torchrun_with_half_of_each_batch_and_resumed_gives_the_weights_of_one_process(
        whole, tmp_path):
    config, work = write_config(tmp_path / 'config.py'), tmp_path / 'work'
    command = ['bash', 'tools/dist_train.sh', config, 2, '--work-dir', work, '--resume', *HALF]
    run(*command, 'train_cfg.max_epochs=1')
    assert not (work / 'epoch_2.pth').exists()
    assert 'resumed epoch: 1' in run(*command)
    assert_same_weights(work, whole)
    rates = [logged(folder, 'lr') for folder in (work, whole)]
    assert rates[0] == rates[1] == {step: 6e-3 * BATCH / 128 for step in range(1, STEPS + 1)}


def test_slurm_with_half_of_each_batch_gives_the_weights_of_one_process(whole, starters, tmp_path):
    config, work = write_config(tmp_path / 'config.py'), tmp_path / 'work'
    run('bash', 'tools/slurm_train.sh', 'cpu', 'job', config, work, *HALF, starters=starters)
    assert_same_weights(work, whole)


def test_mpi_with_accumulated_quarters_of_a_batch_gives_the_weights_of_one_process(
        whole, starters, tmp_path):
    config, work = write_config(tmp_path / 'config.py'), tmp_path / 'work'
    run('mpirun', 'python', 'tools/train.py', config, '--launcher', 'mpi', '--work-dir', work,
        '--cfg-options', f'train_dataloader.batch_size={BATCH // 4}',
        'optim_wrapper.accumulative_counts=2', f'optim_wrapper.optimizer.lr={6e-3 * BATCH / 128}',
        starters=starters)
    assert max(logged(work, 'loss')) == 2 * STEPS
    assert_same_weights(work, whole)


def test_the_average_of_the_weights_is_validated_and_saved_with_all_processes_statistics(
        tmp_path, mnist_root):
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    shown, = re.findall(r'<!-- run by tests/tools/test_distributed.py -->\n```python\n(.*?)```',
                        readme, re.DOTALL)
    config, work = tmp_path / 'config.py', tmp_path / 'work'
    config.write_text(shown.replace("'configs/", f"'{ROOT}/configs/") + SHORT + dedent("""\
        custom_hooks += [dict(type='KeepStatesHook')]
        model = dict(selector=dict(type='EntropySelector', threshold=100.))  # nothing to look at
        """))
    run('bash', 'tools/dist_train.sh', config, 2, '--work-dir', work, '--cfg-options',
        'train_cfg.max_epochs=1', 'train_cfg.val_interval=1')
    momentum = Config.fromfile(work / 'config.py').custom_hooks[2].momentum
    ranks = [torch.load(work / f'states_{rank}.pth') for rank in (0, 1)]
    saved = torch.load(work / 'epoch_1.pth')['state_dict']
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
            moved += not torch.equal(*averages)
            expected = torch.stack(averages).mean(0).float()
            for found in (value, *(rank['validated'][name] for rank in ranks)):
                torch.testing.assert_close(found, expected, msg=name)
    assert moved  # the processes had statistics of their own


@pytest.mark.parametrize('launcher, variable', [
    ('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID'), ('mpi', 'OMPI_COMM_WORLD_RANK')])
def test_a_process_that_no_launcher_started_says_so(launcher, variable):
    with pytest.raises(SystemExit, match=f'--launcher {launcher} reads {variable}, which is not'):
        load_config(arguments(launcher))


def test_mpi_on_several_machines_asks_where_the_processes_meet(monkeypatch):
    for name, value in dict(SIZE=4, LOCAL_SIZE=2, RANK=3, LOCAL_RANK=1).items():
        monkeypatch.setenv(f'OMPI_COMM_WORLD_{name}', str(value))
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_PORT'):
        monkeypatch.setenv(name, 'left over')
    with pytest.raises(SystemExit, match='needs the address of the first machine: set MASTER_ADDR'):
        load_config(arguments('mpi'))


def arguments(launcher: str) -> Namespace:
    return Namespace(config=str(ROOT / QUICK), cfg_options=None, work_dir=None, local_rank=0,
                     launcher=launcher)


def test_sync_bn_synchronises_every_norm_of_a_dcn_and_changes_no_prediction(monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr('mmengine.runner.runner.MMDistributedDataParallel',
                        lambda module, **options: module)
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
