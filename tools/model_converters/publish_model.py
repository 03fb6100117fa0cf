"""Make the file of a trained model that others get: weights, config and names of classes.

    python tools/model_converters/publish_model.py work_dirs/NAME/epoch_4.pth --out NAME.pth

The optimizer and the log are left out, and so are the settings of the run that say where it was.
The file's name gets the first eight digits of its SHA-256, as those of MMPretrain have.
"""

import argparse
import hashlib
from pathlib import Path

import torch
from mmengine.config import Config

from mmdcn.utils.checkpoint import Checkpoint, config_of, read_checkpoint

OF_THE_RUN = ('work_dir', 'load_from', 'resume', 'launcher')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint', type=Path, help='checkpoint of a training run')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE.pth')
    args = parser.parse_args()
    if args.out.suffix != '.pth':
        parser.error(f'--out writes a .pth file, got {args.out}.')
    return args


def main() -> None:
    args = parse_args()
    try:
        content = published(read_checkpoint(args.checkpoint))
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(str(error)) from error
    args.out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = args.out.with_name(f'{args.out.name}.unfinished')
    torch.save(content, unfinished)
    digest = hashlib.sha256(unfinished.read_bytes()).hexdigest()[:8]
    path = unfinished.replace(args.out.with_name(f'{args.out.stem}-{digest}.pth'))
    print(f'{path}: {path.stat().st_size:,} bytes, {len(content["state_dict"])} tensors.')


def published(checkpoint: Checkpoint) -> dict:
    """What is kept of a checkpoint."""
    config = {key: value for key, value in config_of(checkpoint).items() if key not in OF_THE_RUN}
    meta = {
        key: checkpoint.meta[key]
        for key in ('dataset_meta', 'epoch', 'mmengine_version')
        if key in checkpoint.meta
    }
    return dict(meta=dict(cfg=Config(config).pretty_text, **meta), state_dict=checkpoint.weights)


if __name__ == '__main__':
    main()
