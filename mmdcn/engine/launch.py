"""Load configs and build runners, in one process or in several."""

import atexit
import os
import os.path as osp
import subprocess
import time
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import torch.distributed as torch_dist
from mmengine.config import Config, ConfigDict
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmdcn.engine.cpu import distribute_on_cpu
from mmdcn.engine.hooks import CompileHook, ResumeHook
from mmdcn.utils.build import read_config
from mmdcn.utils.checkpoint import (
    Checkpoint,
    check_named_weights,
    check_some_fit,
    check_weights_of,
    fetch_checkpoint,
    load_named_weights,
    loads_weights,
    parts_of,
)
from mmdcn.utils.classes import check_classes, check_number, class_names, names_in

# Launchers of processes, and the environment variables that tell each process its number.
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


def load_config(
    path: str | PathLike,
    options: dict | None = None,
    *,
    work_dir: str | None = None,
    launcher: str = 'none',
    local_rank: int = 0,
) -> Config:
    """Read a config for a runner, and join the other processes if a launcher started this one.

    Args:
        path: The config file.
        options: Settings that override those of the file.
        work_dir: Folder for logs and checkpoints. By default it is the config's, or
            ``work_dirs/<name of the config>``.
        launcher: A key of :data:`LAUNCHERS`, or ``'none'`` for a single process.
        local_rank: Number of this process on its machine, used if the environment does not set it.

    Returns:
        Config: The config for a runner, still without the settings for training or testing.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: The file is not a config, or no launcher has started this process.
    """
    cfg = read_config(path, options)
    cfg.default_scope = cfg.get('default_scope') or 'mmdcn'
    for part in parts_of(cfg.get('model')):
        if 'checkpoint' in part and loads_weights(part):
            part['type'] = 'Pretrained'  # by another name, MMEngine would overwrite the weights
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', Path(path).stem)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(loader) is not None:
            cfg[loader].setdefault('pin_memory', torch.cuda.is_available())
            cfg[loader].setdefault('collate_fn', dict(type='mmdcn.collate_any_sizes'))
            if cfg[loader].get('num_workers') == 0:
                cfg[loader].persistent_workers = False  # torch refuses it of no workers
    cfg.launcher = launcher
    os.environ.setdefault('LOCAL_RANK', str(local_rank))
    if launcher != 'none':
        _name_process(launcher)
        if not torch.cuda.is_available():
            distribute_on_cpu(cfg)
        atexit.register(_leave_group)
    return cfg


def build_test_runner(cfg: Config, checkpoint: str | None = None, tta: bool = False) -> Runner:
    """Build a runner that is ready for ``test()``.

    Args:
        cfg: The config. It is changed.
        checkpoint: File of weights; None means the weights that the model's ``init_cfg`` names, as
            for a DCN whose towers were trained separately.
        tta: Whether to average over the views of ``cfg.tta_pipeline`` with ``cfg.tta_model``.

    Raises:
        FileNotFoundError: A checkpoint that an ``init_cfg`` names is not there.
        ValueError: There is no such checkpoint, there are no weights, the weights are of another
            model, the test set numbers the classes otherwise, or there are no views to average.
    """
    check_weights(cfg, checkpoint)
    cfg.load_from = checkpoint
    if tta:
        if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
            raise ValueError(f'{cfg.filename} lacks tta_model and tta_pipeline, which --tta needs.')
        cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
        if 'pipeline' not in cfg.test_dataloader.dataset:
            raise ValueError(
                f'--tta sets the pipeline of test_dataloader.dataset, but {cfg.filename} has none '
                'there, as with a dataset that wraps others: test those one by one.'
            )
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    runner = Runner.from_cfg(cfg)
    model: Any = _unwrapped(runner)
    model = model.module if tta else model
    if checkpoint is None:
        sources = load_named_weights(model)
    else:
        sources = [fetch_checkpoint(checkpoint)]
        # MMEngine would load only the weights with matching names and go on.
        check_weights_of(model, sources[0])
    _check_test_classes(runner, model, sources)
    return runner


def _unwrapped(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _check_test_classes(runner: Runner, model: nn.Module, sources: list[Checkpoint]) -> None:
    """Check that labels of the test set mean the classes that the model learned."""
    found = class_names(runner.test_dataloader.dataset)
    for source in sources:
        known = names_in(source.meta.get('dataset_meta'))
        check_classes(known, f'the checkpoint {source.path}', found, 'test')
    check_number(_number_of_classes(model), found, 'test')


def _number_of_classes(model: nn.Module) -> int | None:
    return getattr(getattr(model, 'head', None), 'num_classes', None)


def build_train_runner(cfg: Config, compiled: bool = False) -> Runner:
    """Build a runner that is ready for ``train()``, and for resuming with a changed config.

    Args:
        cfg: The config.
        compiled: Whether to compile the model's loss, as :class:`CompileHook` does. This is not
            ``cfg.compile``, by which MMEngine compiles the whole training step.

    Raises:
        FileNotFoundError: A checkpoint that an ``init_cfg`` names is not there.
        ValueError: Not one weight of a checkpoint fits, or the training set and the validation set
            number their classes otherwise, or the head tells another number of classes apart, or
            the loss is to be compiled and cannot be, or twice.
    """
    if compiled and cfg.get('compile'):
        raise ValueError(
            f'{cfg.filename} sets compile, by which MMEngine compiles the whole training step: '
            'take that out or train without --compile, which compiles the loss alone.'
        )
    hooks = [ResumeHook(), *([CompileHook()] if compiled else [])]
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    model = _unwrapped(runner)
    check_named_weights(model)
    if cfg.get('load_from') and not cfg.get('resume'):
        check_some_fit(
            model,
            fetch_checkpoint(cfg.load_from),
            'To start parts of the model from it, give each in place of load_from an '
            "init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.').",
        )
    if runner.train_loop is not None:
        names = class_names(runner.train_dataloader.dataset)
        check_number(_number_of_classes(model), names, 'train')
        if runner.val_loop is not None:
            found = class_names(runner.val_dataloader.dataset)
            check_classes(names, 'the training set', found, 'val')
    return runner


def newest_checkpoint(cfg: Config) -> str | None:
    """Return the path of the newest checkpoint of a config's work dir, or None without one.

    MMEngine keeps an absolute path, which in a copied folder is that of the original.
    """
    last = Path(cfg.work_dir, 'last_checkpoint')
    if not last.is_file():
        return None
    path = last.read_text().strip()
    if not path:
        raise ValueError(f'{last} names no checkpoint: name one, as in --resume epoch_3.pth.')
    if cfg.get('default_hooks', {}).get('checkpoint', {}).get('out_dir'):
        return path  # elsewhere by intention
    return str(last.with_name(Path(path).name))


def check_weights(cfg: Config, checkpoint: str | None) -> None:
    """Check that there are weights for ``cfg.model``.

    Raises:
        ValueError: The checkpoint does not exist, or is None and the config does not name the
            weights of all parts.
    """
    if checkpoint is None and not names_weights(cfg.model):
        raise ValueError(
            f'{cfg.filename} does not name the weights of all parts in an init_cfg: '
            'pass a checkpoint.'
        )
    if checkpoint is not None and '://' not in checkpoint and not osp.isfile(checkpoint):
        raise ValueError(f'The checkpoint {checkpoint} is not there.')


def names_weights(model: dict) -> bool:
    """Return whether ``init_cfg`` loads weights of the whole model, or of both towers and head."""
    steps = model.get('init_cfg') or []
    if any(map(loads_weights, [steps] if isinstance(steps, dict) else steps)):
        return True
    parts = [model[name] for name in ('backbone', 'coarse', 'fine', 'head') if model.get(name)]
    return bool(parts) and all(map(names_weights, parts))


def _name_process(launcher: str) -> None:
    """Set torchrun's environment variables to the number of this process.

    MMEngine's launchers do so too, but only on GPUs, and under MPI without LOCAL_RANK, which its
    model wrapper reads.
    """
    starter, names = LAUNCHERS[launcher]
    for name, theirs in names.items():
        if theirs not in os.environ:
            raise ValueError(
                f'--launcher {launcher} reads {theirs}, which is not set: start the '
                f'processes with {starter}, or leave --launcher out.'
            )
        os.environ[name] = os.environ[theirs]
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = _first_machine(launcher)


def _first_machine(launcher: str) -> str:
    """Return the address at which the processes meet."""
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
    raise ValueError(
        f'--launcher {launcher} needs the address of the first machine: set '
        'MASTER_ADDR for all processes, under mpirun with -x MASTER_ADDR=...'
    )


def _leave_group() -> None:
    """End the communication threads, which can make the interpreter abort when it exits."""
    if torch_dist.is_initialized():
        # A thread may still be freeing memory of the last collective, for which it needs Python.
        time.sleep(0.2)
        torch_dist.destroy_process_group()
