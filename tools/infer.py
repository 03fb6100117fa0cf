"""Predict what is on images, where a DCN looks and what that costs.

    python tools/infer.py demo/cluttered_mnist.png dcn-k8-hint --show-dir pictures
    python tools/infer.py FOLDER work_dirs/NAME/epoch_10.pth --out results.json --batch-size 64

The results are printed as a JSON list, an image a line, as DCNInferencer gives them.
"""

import argparse
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np

from mmdcn.apis import DCNInferencer


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog='mmdcn.list_models() gives the names of models.'
    )
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image files or one folder')
    parser.add_argument(
        'model', help='name of a model, config file, or a checkpoint that holds its config'
    )
    parser.add_argument(
        '--checkpoint',
        help='weights, where the model is a name or config (default: those that come with it)',
    )
    parser.add_argument('--out', type=Path, metavar='FILE.json', help='write the results there too')
    parser.add_argument('--show-dir', help='write a picture of each image into this folder')
    parser.add_argument('--device', help='such as cuda:1 (default: a GPU where there is one)')
    parser.add_argument(
        '--batch-size', type=int, default=1, help='images at a time (default: %(default)s)'
    )
    args = parser.parse_args()
    if args.out and args.out.suffix != '.json':
        parser.error(f'--out writes a .json file, got {args.out}.')
    return args


def main() -> None:
    args = parse_args()
    unfinished = args.out and args.out.with_name(f'{args.out.name}.unfinished')
    try:
        if args.out:  # whether it can be written is not found out at the end
            args.out.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text('')
        with redirect_stdout(sys.stderr):  # what MMEngine logs
            inferencer = DCNInferencer(args.model, args.checkpoint or True, args.device)
            text = as_json(
                inferencer(
                    args.images[0] if len(args.images) == 1 else args.images,
                    batch_size=args.batch_size,
                    show_dir=args.show_dir,
                )
            )
        if args.out:
            unfinished.write_text(text)
            unfinished.replace(args.out)
    except (OSError, TypeError, ValueError) as error:
        raise SystemExit(str(error)) from error
    finally:
        if args.out:
            unfinished.unlink(missing_ok=True)
    sys.stdout.write(text)


def as_json(results: list[dict]) -> str:
    lines = ',\n'.join(json.dumps(result, default=np.ndarray.tolist) for result in results)
    return f'[\n{lines}\n]\n'


if __name__ == '__main__':
    main()
