"""Predict what images show, and tell where a DCN looks and what it costs.

    python tools/infer.py demo/cluttered_mnist.png dcn-k8-hint --show-dir pictures
    python tools/infer.py FOLDER work_dirs/NAME/epoch_10.pth --out results.json --batch-size 64

The tool prints the results of DCNInferencer as a JSON list, one image per line.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

import numpy as np

from mmdcn.apis import DCNInferencer
from mmdcn.deployment import BACKENDS
from mmdcn.utils.files import replacing

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.command_line import errors_as_messages, file_of


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog='mmdcn.list_models() gives the names of models.'
    )
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image files or one folder')
    parser.add_argument(
        'model', help='name of a model, config file, or a checkpoint that holds its config'
    )
    parser.add_argument(
        '--checkpoint',
        help='weights, if the model is a name or config (default: those that come with it)',
    )
    parser.add_argument(
        '--out',
        type=file_of('.json'),
        metavar='FILE.json',
        help='also write the results to this file',
    )
    parser.add_argument('--show-dir', help='write a picture of each image into this folder')
    parser.add_argument('--device', help='device, such as cuda:1 (default: a GPU if there is one)')
    parser.add_argument(
        '--batch-size', type=int, default=1, help='images per batch (default: %(default)s)'
    )
    parser.add_argument(
        '--backend',
        default='eager',
        choices=['eager', *BACKENDS],
        help='what runs the model (default: %(default)s)',
    )
    return parser.parse_args(argv)


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    # Open the file first, so that an unwritable path fails before the predictions.
    with replacing(args.out) if args.out else nullcontext() as unfinished:
        if unfinished:
            unfinished.touch()
        with redirect_stdout(sys.stderr):  # MMEngine's log
            inferencer = DCNInferencer(
                args.model, args.checkpoint or True, args.device, backend=args.backend
            )
            text = as_json(
                inferencer(
                    args.images[0] if len(args.images) == 1 else args.images,
                    batch_size=args.batch_size,
                    show_dir=args.show_dir,
                )
            )
        if unfinished:
            unfinished.write_text(text)
    sys.stdout.write(text)


def as_json(results: list[dict]) -> str:
    lines = ',\n'.join(json.dumps(result, default=np.ndarray.tolist) for result in results)
    return f'[\n{lines}\n]\n'


if __name__ == '__main__':
    main()
