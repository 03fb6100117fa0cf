"""What the tools that run a config have in common."""

import argparse
import atexit
import os
import os.path as osp
import subprocess
import time

import torch
import torch.distributed as torch_dist
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmdcn.utils.build import read_config
from mmdcn.utils.checkpoint import check_weights_of, load_named_weights, read_checkpoint

# Who starts the processes, and in which variables he tells each which one it is.
LAUNCHERS = dict(
    pytorch=('torchrun', dict(RANK='RANK', WORLD_SIZE='WORLD_SIZE', LOCAL_RANK='LOCAL_RANK')),
    slurm=(
        'srun',
        dict(RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID'),
    ),
    mpi=(
        "Open MPI's mpirun",
        dict(
            RANK='OMPI_COMM_WORLD_RANK',
            WORLD_SIZE='OMPI_COMM_WORLD_SIZE',
            LOCAL_RANK='OMPI_COMM_WORLD_LOCAL_RANK',
        ),
    ),
)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that every tool of OpenMMLab that runs a config has."""
    parser.add_argument(
        '--work-dir',
        help='where logs and checkpoints go; ./work_dirs/<name of the config> by default',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as in: train_dataloader.batch_size=64 '
        'model.selector.k=4. Lists are written key="[a,b]", without blanks.',
    )
    parser.add_argument('--launcher', choices=['none', *LAUNCHERS], default='none')
    # torch.distributed.launch passes the rank as an option, torchrun in the environment.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def load_config(args: argparse.Namespace) -> Config:
    """Read ``args.config`` and apply the common arguments to it.

    Args:
        args: Has ``config`` and what :func:`add_common_arguments` adds.

    Returns:
        Config: Ready for a runner, but for what is special to training or testing.

    Raises:
        SystemExit: There is no such config, or no launcher has started this process.
    """
    cfg = read_config(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(loader) is not None:
            cfg[loader].setdefault('pin_memory', torch.cuda.is_available())
            cfg[loader].setdefault('collate_fn', dict(type='default_collate'))
    cfg.launcher = args.launcher
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.launcher != 'none':
        _name_process(args.launcher)
        if not torch.cuda.is_available():
            _distribute_on_cpu(cfg)
        atexit.register(_leave_group)
    return cfg


def build_test_runner(cfg: Config, checkpoint: str | None = None, tta: bool = False) -> Runner:
    """Make a runner whose ``test()`` is all that is left to do.

    Args:
        cfg: Is changed.
        checkpoint: Weights; None takes those that the model's ``init_cfg`` names, as for a DCN
            whose towers were trained apart.
        tta: Average over the views of ``cfg.tta_pipeline`` with ``cfg.tta_model``.

    Raises:
        FileNotFoundError: A checkpoint that an ``init_cfg`` names is not there.
        ValueError: There is no such checkpoint, no weights or those of another model, or there
            are no views to average.
    """
    check_weights(cfg, checkpoint)
    cfg.load_from = checkpoint
    if tta:
        if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
            raise ValueError(f'{cfg.filename} lacks tta_model and tta_pipeline, which --tta needs.')
        cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    runner = Runner.from_cfg(cfg)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if checkpoint is None:
        load_named_weights(model)
    elif '://' not in checkpoint:  # else MMEngine knows from where
        # It would go on with whatever weights have the same names.
        check_weights_of(model.module if tta else model, read_checkpoint(checkpoint))
    return runner


def check_weights(cfg: Config, checkpoint: str | None) -> None:
    """Check that there are weights for ``cfg.model``.

    Raises:
        ValueError: The checkpoint is not there, or is None and the config does not name all.
    """
    if checkpoint is None and not names_weights(cfg.model):
        raise ValueError(
            f'{cfg.filename} does not name the weights of all parts in an init_cfg: '
            'pass a checkpoint.'
        )
    if checkpoint is not None and '://' not in checkpoint and not osp.isfile(checkpoint):
        raise ValueError(f'The checkpoint {checkpoint} is not there.')


def names_weights(model: dict) -> bool:
    """Whether ``init_cfg``s load a checkpoint of a model, or of its towers and head each."""
    steps = model.get('init_cfg') or []
    if any(
        step.get('type') == 'Pretrained' for step in ([steps] if isinstance(steps, dict) else steps)
    ):
        return True
    parts = [model[name] for name in ('backbone', 'coarse', 'fine', 'head') if model.get(name)]
    return bool(parts) and all(map(names_weights, parts))


def _name_process(launcher: str) -> None:
    """Say in torchrun's variables which process this is.

    MMEngine's launchers do so too, but on GPUs only and under MPI without LOCAL_RANK, which its
    wrapper of a model reads.
    """
    starter, names = LAUNCHERS[launcher]
    for name, theirs in names.items():
        if theirs not in os.environ:
            raise SystemExit(
                f'--launcher {launcher} reads {theirs}, which is not set: start the '
                f'processes with {starter}, or leave --launcher out.'
            )
        os.environ[name] = os.environ[theirs]
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = _first_machine(launcher)


def _first_machine(launcher: str) -> str:
    """The address at which the processes meet."""
    if launcher == 'slurm':
        machines = subprocess.run(
            ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']],
            check=True,
            capture_output=True,
            text=True,
        )
        return machines.stdout.split()[0]
    if os.environ.get('OMPI_COMM_WORLD_LOCAL_SIZE') == os.environ['WORLD_SIZE']:
        return '127.0.0.1'
    raise SystemExit(
        f'--launcher {launcher} needs the address of the first machine: set '
        'MASTER_ADDR for all processes, under mpirun with -x MASTER_ADDR=...'
    )


def _leave_group() -> None:
    """End the threads that talk to other processes; the interpreter's end may abort on them."""
    if torch_dist.is_initialized():
        # One may still be giving back what the last collective had, for which it needs Python.
        time.sleep(0.2)
        torch_dist.destroy_process_group()


def _distribute_on_cpu(cfg: Config) -> None:
    """Let the processes meet on the CPU, for which MMEngine insists on a GPU."""
    if not torch_dist.is_initialized():
        torch_dist.init_process_group('gloo')
    cfg.setdefault(
        'model_wrapper_cfg',
        dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False),
    )
