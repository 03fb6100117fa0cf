"""Export a classifier as one ONNX graph and compare ONNX Runtime with PyTorch.

    python tools/deploy/export_onnx.py CONFIG [CHECKPOINT] --out dcn.onnx

The graph takes raw images, (N, C, H, W) uint8 as the config's pipeline gives them, and normalises
them itself; batch and image size stay open. Of a DCN the saliency, the choice of patches and both
towers are in it. The file gets its name only after ONNX Runtime gave on random images what
PyTorch gives.
"""

import argparse
import textwrap
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from torch import nn

from mmdcn.apis import get_model
from mmdcn.engine.launch import check_weights
from mmdcn.utils.build import build_dataset, read_config
from mmdcn.utils.table import print_table

try:
    import onnx
    import onnx_ir
    import onnxruntime

    from mmdcn.deployment import INPUT, TOLERANCE, differences, export_onnx
except ModuleNotFoundError as error:
    if error.name.split('.')[0] not in ('onnx', 'onnx_ir', 'onnxruntime', 'onnxscript'):
        raise
    raise SystemExit(
        f'Exporting needs {error.name}, which is not installed: run `pip install -r '
        'requirements/optional.txt`.'
    ) from error

BATCH_SIZES = (1, 3)  # other than the 2 of the export
LARGER = (13, 30)  # pixels that the second size has more, (vertical, horizontal)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help="checkpoint file; without one the weights are those that the config's init_cfg names",
    )
    parser.add_argument('--out', type=Path, required=True, metavar='FILE.onnx')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=3,
        metavar=('C', 'H', 'W'),
        help='channels, height and width of an image to try the graph on (default: '
        'those of the first test image)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='override settings of the config: key=value',
    )
    args = parser.parse_args()
    if args.out.suffix != '.onnx':
        parser.error(f'--out writes an .onnx file, got {args.out}.')
    if args.shape and min(args.shape) < 1:
        parser.error(f'--shape takes three numbers of at least 1, got {args.shape}.')
    return args


def main() -> None:
    args = parse_args()
    cfg = read_config(args.config)
    cfg.merge_from_dict(args.cfg_options)
    model = load_model(cfg, args.checkpoint)
    shape = tuple(args.shape) if args.shape else first_shape(cfg)

    args.out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = args.out.with_name(f'{args.out.name}.unfinished')
    try:
        write(model, shape, unfinished)
        compare(model, shape, unfinished)
        unfinished.replace(args.out)
    finally:
        unfinished.unlink(missing_ok=True)
    describe(args.out)


def load_model(cfg: Config, checkpoint: str | None) -> nn.Module:
    """Build the config's model with its weights, all of them."""
    try:
        check_weights(cfg, checkpoint)
        return get_model(cfg, checkpoint or True)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(str(error)) from error


def first_shape(cfg: Config) -> tuple[int, int, int]:
    try:
        return tuple(build_dataset(cfg)[0]['inputs'].shape)
    except FileNotFoundError as error:
        raise SystemExit(
            f'{cfg.filename} has no test image to take a shape from '
            f'({_one_line(error)}); pass --shape, which needs no data.'
        ) from error


def write(model: nn.Module, shape: tuple[int, int, int], path: Path) -> None:
    channels, height, width = shape
    try:
        with torch.no_grad():
            model(**model.data_preprocessor(dict(inputs=random_images(1, shape))))
        # Of images with one row of cells torch would take the row for granted.
        graph = export_onnx(model, random_images(2, (channels, 2 * height, 2 * width)))
    except torch.onnx.OnnxExporterError as error:
        cause = error.__cause__ or error
        raise SystemExit(
            'A part of the model cannot be expressed in ONNX, such as a saliency that '
            f'needs a backward pass ({_one_line(cause)}).'
        ) from error
    except (RuntimeError, TypeError, ValueError) as error:
        raise SystemExit(
            f'The model cannot be exported with images of {_times(shape)}: {_one_line(error)}'
        ) from error
    onnx_ir.save(graph, path)
    onnx.checker.check_model(path, full_check=True)


def compare(model: nn.Module, shape: tuple[int, int, int], path: Path) -> None:
    """Print how far ONNX Runtime is from PyTorch; too far ends the tool."""
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    channels, height, width = shape
    larger = (channels, height + LARGER[0], width + LARGER[1])
    cases = [(size, chosen) for chosen in (shape, larger) for size in BATCH_SIZES]
    found = [differences(model, session, random_images(*case)) for case in cases]
    print_table(
        'ONNX Runtime against PyTorch: largest difference',
        ['images', *found[0]],
        [
            [_times((size, *chosen)), *(f'{value:.0e}' for value in values.values())]
            for (size, chosen), values in zip(cases, found)
        ],
    )
    worst, output = max((value, name) for values in found for name, value in values.items())
    if not worst <= TOLERANCE:
        raise SystemExit(
            f"ONNX Runtime's {output} differs from PyTorch's by {worst:.0e}, more "
            f'than {TOLERANCE:.0e}; nothing was written. Peaks that are equal but for '
            'rounding can do that to a network that is hardly trained: train it, or '
            'compare on other images with --shape.'
        )


def describe(path: Path) -> None:
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    names = ', '.join(output.name for output in session.get_outputs())
    print(f'{path}: {INPUT} -> {names}.')


def random_images(number: int, shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.randint(0, 256, (number, *shape), dtype=torch.uint8)


def _one_line(error: Exception) -> str:
    return textwrap.shorten(str(error), 200, placeholder=' …').rstrip('.')


def _times(sizes: tuple[int, ...]) -> str:
    return '×'.join(map(str, sizes))


if __name__ == '__main__':
    main()
