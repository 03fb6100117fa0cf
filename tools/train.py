"""Train a model.

python tools/train.py CONFIG
"""

import argparse
import os.path as osp
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import print_log

from mmdcn.engine.cpu import keep_freed_memory
from mmdcn.engine.launch import build_train_runner, newest_checkpoint
from mmdcn.utils.checkpoint import fetch_checkpoint

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.command_line import add_cfg_options, add_run_arguments, config_of, errors_as_messages


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a model.')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='auto|CHECKPOINT',
        help='resume from this checkpoint, or from the newest in the work dir if none is named',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by the real batch size / the config's base batch size",
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help="compile the model's loss by torch.compile, which makes the second batch slow; on a "
        'CPU this has gained nothing',
    )
    add_cfg_options(parser)
    add_run_arguments(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    with errors_as_messages():
        cfg = training_config(args)
        runner = build_train_runner(cfg, compiled=args.compile)
    keep_freed_memory()
    runner.train()


def training_config(args: argparse.Namespace) -> Config:
    """Read the config of a command line.

    Raises:
        FileNotFoundError: The config or the checkpoint is not there.
        ValueError: The config does not support an option, or the checkpoint is cut.
    """
    cfg = config_of(args)
    if args.amp:
        on_gpu = torch.cuda.is_available()
        cfg.optim_wrapper.type = 'AmpOptimWrapper' if on_gpu else 'mmdcn.CPUAmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.resume == 'auto' or (cfg.get('resume') and not (args.resume or cfg.get('load_from'))):
        newest = newest_checkpoint(cfg)
        cfg.resume = newest is not None
        cfg.load_from = newest or cfg.get('load_from')
        if newest is None:
            print_log(f'No checkpoint to resume from in {cfg.work_dir}: training begins.')
    elif args.resume:
        cfg.resume, cfg.load_from = True, args.resume
    if cfg.get('resume') and '://' not in cfg.load_from and not osp.isfile(cfg.load_from):
        raise FileNotFoundError(f'The checkpoint {cfg.load_from} to go on from is not there.')
    if cfg.get('resume'):
        fetch_checkpoint(cfg.load_from)  # MMEngine would fail on a cut one after building all else
    if args.auto_scale_lr:
        if cfg.get('auto_scale_lr') is None:
            raise ValueError(
                f'--auto-scale-lr needs auto_scale_lr = dict(base_batch_size=...) in '
                f'{args.config}, which has none.'
            )
        cfg.auto_scale_lr.enable = True
    return cfg


if __name__ == '__main__':
    main()
