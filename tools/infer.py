"""Predict what images show, and tell where a DCN looks and what it costs.

    python tools/infer.py demo/cluttered_mnist.png dcn-k8-hint --show-dir pictures
    python tools/infer.py FOLDER work_dirs/NAME/epoch_10.pth --out results.json --batch-size 64
    python tools/infer.py FOLDER MODEL --geojson FOLDER --save-patches FOLDER

The tool prints the results of DCNInferencer as a JSON list, one image per line. For an image that
cannot be predicted there are its ``img_path`` and the ``error``, and the exit status is 1.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing, redirect_stdout
from pathlib import Path

import numpy as np
from mmpretrain.structures import DataSample
from rich.console import Console
from rich.progress import track

from mmdcn.apis import DCNInferencer
from mmdcn.apis.images import list_images, picture_names
from mmdcn.deployment import BACKENDS
from mmdcn.utils.files import check_writable, replacing
from mmdcn.visualization.cutouts import cut_patches
from mmdcn.visualization.geojson import to_geojson

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.command_line import at_least, errors_as_messages, file_of

SECONDS_BETWEEN_WRITES = 5
LARGEST_SHARE_OF_WRITES = 0.05  # of the time, however many results there are


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
        help='also write the results to this file, every few seconds and at the end',
    )
    parser.add_argument(
        '--show-dir', type=Path, help='write a picture of each image into this folder'
    )
    parser.add_argument(
        '--geojson',
        type=Path,
        metavar='FOLDER',
        help='write the patches of each image as GeoJSON, which QuPath opens, into this folder; '
        'or into a FILE.geojson, if there is one image',
    )
    parser.add_argument(
        '--save-patches',
        type=Path,
        metavar='FOLDER',
        help='cut the patches out of each image and write them as FOLDER/IMAGE/RANK.png',
    )
    parser.add_argument(
        '--strict', action='store_true', help='stop at the first image that cannot be predicted'
    )
    parser.add_argument('--device', help='device, such as cuda:1 (default: a GPU if there is one)')
    parser.add_argument(
        '--batch-size', type=at_least(1), default=1, help='images per batch (default: %(default)s)'
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
    given = args.images[0] if len(args.images) == 1 else args.images
    check_outputs(args, picture_names(list_images(given, in_part=True)))
    with redirect_stdout(sys.stderr):  # MMEngine's log
        inferencer = DCNInferencer(
            args.model, args.checkpoint or True, args.device, backend=args.backend
        )
        images = list_images(given, inferencer.reads_in_part)
        names = picture_names(images)
        results = Results(args.out)
        batches = track(
            range(0, len(images), args.batch_size),
            'Inference',
            disable=len(images) == 1,
            console=Console(stderr=True),
            transient=True,
        )
        # A progress bar that an error leaves open would go on drawing itself.
        with closing(batches):
            for start in batches:
                batch = slice(start, start + args.batch_size)
                answers = predict(inferencer, images[batch], args.strict)
                for image, name, answer in zip(images[batch], names[batch], answers, strict=True):
                    results.add(finish(args, inferencer, image, name, answer))
        results.write()
    sys.stdout.write(results.as_json())
    if results.failed:
        raise SystemExit(f'{results.failed} of {len(images)} images failed; their results say why.')


def check_outputs(args: argparse.Namespace, names: Sequence[str]) -> None:
    """Raise an error about a path that cannot be written, before the predictions take their time.

    Raises:
        OSError: A file or folder cannot be written.
        ValueError: One GeoJSON file is named for several images.
    """
    if args.geojson and args.geojson.suffix == '.geojson' and len(names) > 1:
        raise ValueError(
            f'{args.geojson} can hold the patches of one image, and there are {len(names)}: name '
            'a folder.'
        )
    first = names[0]
    if args.out:
        check_writable(args.out)
    if args.show_dir:
        check_writable(args.show_dir / f'{first}.png')
    if args.geojson:
        check_writable(geojson_file(args.geojson, first))
    if args.save_patches:
        check_writable(args.save_patches / f'{first}.png')


def predict(
    inferencer: DCNInferencer, images: Sequence[str], strict: bool
) -> list[DataSample | str]:
    """Predict a batch of images.

    A batch that fails is halved until the images to blame are alone, so that the others still
    share passes of the model.

    Returns:
        list: The data sample of each image, or a sentence about why there is none.

    Raises:
        FileNotFoundError: ``strict``, and a file is not there.
        ValueError: ``strict``, and an image cannot be predicted.
    """
    try:
        return [
            sample
            for data in inferencer.preprocess(images, len(images))
            for sample in inferencer.forward(data)
        ]
    except (FileNotFoundError, ValueError) as error:
        if strict:
            raise
        if len(images) == 1:
            return [str(error)]
    half = len(images) // 2
    return [
        *predict(inferencer, images[:half], strict),
        *predict(inferencer, images[half:], strict),
    ]


def finish(
    args: argparse.Namespace,
    inferencer: DCNInferencer,
    image: str,
    name: str,
    answer: DataSample | str,
) -> dict:
    """Write the files of an image that the command line asks for, and return its result.

    Args:
        args: The command line.
        inferencer: The inferencer.
        image: The image's file.
        name: The name of what is written.
        answer: The image's data sample, or why there is none.

    Raises:
        OSError: A file cannot be written.
        ValueError: ``args.strict``, and the image cannot be read again.
    """
    if isinstance(answer, str):
        return dict(img_path=image, error=answer)
    (result,) = inferencer.postprocess([answer])
    if args.geojson:
        text = as_json(to_geojson(result, answer.ori_shape[:2]))
        with replacing(geojson_file(args.geojson, name)) as unfinished:
            unfinished.write_text(f'{text}\n')
    try:
        if args.show_dir:
            inferencer.visualize([image], [answer], show_dir=args.show_dir, names=[name])
        if args.save_patches and 'patch_bboxes' in result:
            save_patches(answer.img_path, result['patch_bboxes'], args.save_patches / name)
    except ValueError as error:
        if args.strict:
            raise
        result['error'] = str(error)
    return result


def geojson_file(target: Path, name: str) -> Path:
    return target if target.suffix == '.geojson' else target / f'{name}.geojson'


def save_patches(image: str, boxes: np.ndarray, folder: Path) -> None:
    """Write the patches of an image file as ``1.png``, the most salient, ``2.png`` and so on."""
    for rank, patch in enumerate(cut_patches(image, boxes), start=1):
        with replacing(folder / f'{rank}.png') as unfinished:
            patch.save(unfinished)


class Results:
    """The results so far, also in a file that is complete at every moment.

    Args:
        path: The file; None for no file. What it held before stays until the first results are
            written into it.

    Attributes:
        failed: Number of results with an error.
    """

    def __init__(self, path: Path | None) -> None:
        self.failed = 0
        self._path = path
        self._lines: list[str] = []
        self._due = time.monotonic() + SECONDS_BETWEEN_WRITES

    def add(self, result: dict) -> None:
        """Add a result, say its error, and write the file if it is time."""
        if 'error' in result:
            self.failed += 1
            print(result['error'], file=sys.stderr)
        self._lines.append(as_json(result))
        if time.monotonic() >= self._due:
            self.write()

    def write(self) -> None:
        """Write the file, if there is one.

        Raises:
            OSError: It cannot be written.
        """
        if self._path is None:
            return
        began = time.monotonic()
        with replacing(self._path) as unfinished:
            unfinished.write_text(self.as_json())
        ended = time.monotonic()
        pause = max(SECONDS_BETWEEN_WRITES, (ended - began) / LARGEST_SHARE_OF_WRITES)
        self._due = ended + pause

    def as_json(self) -> str:
        """Return a JSON list, one result per line."""
        lines = ',\n'.join(self._lines)
        return f'[\n{lines}\n]\n'


def as_json(value: dict) -> str:
    return json.dumps(value, default=np.ndarray.tolist)


if __name__ == '__main__':
    main()
