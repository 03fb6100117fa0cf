"""Train a model: python tools/train.py CONFIG"""

import argparse
import os.path as osp

import torch
from mmengine.runner import Runner

from mmdcn.engine.launch import add_common_arguments, load_config
from mmdcn.utils.memory import keep_freed_memory


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a model.')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='auto|CHECKPOINT',
        help='go on from a checkpoint, or from the newest in the work dir if none is named',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the real batch size over the one the config is for',
    )
    add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    if args.amp:
        on_gpu = torch.cuda.is_available()
        cfg.optim_wrapper.type = 'AmpOptimWrapper' if on_gpu else 'mmdcn.CPUAmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
        if cfg.load_from and '://' not in cfg.load_from and not osp.isfile(cfg.load_from):
            raise SystemExit(f'The checkpoint {cfg.load_from} to go on from is not there.')
    if args.auto_scale_lr:
        if cfg.get('auto_scale_lr') is None:
            raise SystemExit(
                f'--auto-scale-lr needs auto_scale_lr = dict(base_batch_size=...) in '
                f'{args.config}, which has none.'
            )
        cfg.auto_scale_lr.enable = True
    keep_freed_memory()
    Runner.from_cfg(cfg).train()


if __name__ == '__main__':
    main()
