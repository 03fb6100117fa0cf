"""Export a classifier as one ONNX graph and compare ONNX Runtime with PyTorch.

    python tools/deploy/export_onnx.py CONFIG [CHECKPOINT] --out dcn.onnx

The graph takes raw images from the config's pipeline, (N, C, H, W) uint8, and normalises them
itself. Batch and image sizes are dynamic. The graph of a DCN contains the saliency, the choice of
patches and both towers. The file is only kept if ONNX Runtime and PyTorch agree on random images.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn

from mmdcn.apis import get_model
from mmdcn.engine.launch import check_weights
from mmdcn.utils.build import first_images, read_config
from mmdcn.utils.files import replacing

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.command_line import add_model_arguments, at_least, errors_as_messages, file_of
from tools.output import one_line, print_table, times

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

BATCH_SIZES = (1, 3)  # different from the export's batch size, 2
LARGER = (13, 30)  # pixels added for the second image size, (vertical, horizontal)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_arguments(parser)
    parser.add_argument('--out', type=file_of('.onnx'), required=True, metavar='FILE.onnx')
    parser.add_argument(
        '--shape',
        type=at_least(1),
        nargs=3,
        metavar=('C', 'H', 'W'),
        help='channels, height and width of an image for the comparison (default: '
        'those of the first test image)',
    )
    return parser.parse_args(argv)


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    cfg = read_config(args.config, args.cfg_options)
    check_weights(cfg, args.checkpoint)
    model = get_model(cfg, args.checkpoint or True)
    shape = tuple(args.shape) if args.shape else first_shape(cfg)
    with replacing(args.out) as unfinished:
        write(model, shape, unfinished)
        compare(model, shape, unfinished)
    describe(args.out)


def first_shape(cfg: Config) -> tuple[int, int, int]:
    try:
        return tuple(first_images(cfg, 1).shape[1:])
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{cfg.filename} has no test image to take a shape from '
            f'({one_line(error)}); pass --shape, which needs no data.'
        ) from error


def write(model: nn.Module, shape: tuple[int, int, int], path: Path) -> None:
    onnx_ir.save(export(model, shape), path)
    onnx.checker.check_model(path, full_check=True)


def export(model: nn.Module, shape: tuple[int, int, int]) -> onnx_ir.Model:
    """Export a model for images of any size, after a run on one of this shape.

    Raises:
        ValueError: The model does not take this shape, or cannot be exported.
    """
    try:
        with torch.no_grad():
            model(**model.data_preprocessor(dict(inputs=random_images(1, shape))))
        return export_onnx(model, shape)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f'The model cannot be exported with images of {times(shape)}: {one_line(error)}'
        ) from error


def compare(model: nn.Module, shape: tuple[int, int, int], path: Path) -> None:
    """Print how far ONNX Runtime is from PyTorch, and end the tool if it is too far."""
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    channels, height, width = shape
    larger = (channels, height + LARGER[0], width + LARGER[1])
    cases = [(size, chosen) for chosen in (shape, larger) for size in BATCH_SIZES]
    found = [differences(model, session, random_images(*case)) for case in cases]
    print_table(
        'ONNX Runtime against PyTorch: largest difference',
        ['images', *found[0]],
        [
            [times((size, *chosen)), *(f'{value:.0e}' for value in values.values())]
            for (size, chosen), values in zip(cases, found, strict=True)
        ],
    )
    worst, output = max((value, name) for values in found for name, value in values.items())
    if not worst <= TOLERANCE:
        raise ValueError(
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


if __name__ == '__main__':
    main()
