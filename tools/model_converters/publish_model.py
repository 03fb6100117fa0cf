"""Make a file of a trained model for publication: weights, config and names of classes.

    python tools/model_converters/publish_model.py work_dirs/NAME/epoch_4.pth --out NAME.pth

The file has no optimizer, no log, and no settings that tell where the run was made. Its name gets
the first eight digits of its SHA-256, as in MMPretrain.
"""

import argparse
import hashlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config

from mmdcn.utils.checkpoint import Checkpoint, config_of, read_checkpoint
from mmdcn.utils.files import replacing

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.command_line import errors_as_messages, file_of

OF_THE_RUN = ('work_dir', 'load_from', 'resume', 'launcher')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint', type=Path, help='checkpoint of a training run')
    parser.add_argument('--out', type=file_of('.pth'), required=True, metavar='FILE.pth')
    return parser.parse_args(argv)


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    content, packed = published(read_checkpoint(args.checkpoint)), io.BytesIO()
    torch.save(content, packed)
    digest = hashlib.sha256(packed.getbuffer()).hexdigest()[:8]
    path = args.out.with_name(f'{args.out.stem}-{digest}.pth')
    with replacing(path) as unfinished:
        unfinished.write_bytes(packed.getbuffer())
    print(f'{path}: {path.stat().st_size:,} bytes, {len(content["state_dict"])} tensors.')


def published(checkpoint: Checkpoint) -> dict:
    """Return the part of a checkpoint that is published."""
    config = {key: value for key, value in config_of(checkpoint).items() if key not in OF_THE_RUN}
    meta = {
        key: checkpoint.meta[key]
        for key in ('dataset_meta', 'epoch', 'mmengine_version')
        if key in checkpoint.meta
    }
    return dict(meta=dict(cfg=Config(config).pretty_text, **meta), state_dict=checkpoint.weights)


if __name__ == '__main__':
    main()
