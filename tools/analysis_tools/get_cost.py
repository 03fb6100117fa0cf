"""Count the exact multiplications of models, part by part.

    python tools/analysis_tools/get_cost.py CONFIG [CONFIG ...] --k 8 24 --out cost.json
    python tools/analysis_tools/get_cost.py CONFIG [CONFIG ...] --shape 1 54 110 --sweep cost.png

The tool counts the operators that a forward pass of one image executes. The weights are untrained,
which changes nothing: with an adaptive selector, the image gets its largest number of patches. The
image is the first of the config's test set, after the pipeline, or a random one of --shape. With
--sweep, the models run at 1 to 8 times the height and width of --shape, and the tool draws their
totals as in the paper's Figure 5.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from itertools import groupby, product
from pathlib import Path

import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from rich.progress import track

from mmdcn.analysis import multiplications_by_part, with_full_budgets
from mmdcn.models import RandomCells
from mmdcn.utils.build import build_model, first_images, read_config
from mmdcn.visualization.pictures import new_chart, save

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.command_line import at_least, errors_as_messages, file_of
from tools.output import names_of, one_line, print_table, times, write_json

SWEEP = range(1, 9)  # times --shape; 8 times 54×110 is the size of SVHN's largest images


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='+', type=Path, metavar='CONFIG')
    parser.add_argument(
        '--shape',
        type=at_least(1),
        nargs=3,
        metavar=('C', 'H', 'W'),
        help='channels, height and width of the image (default: those of the first test image)',
    )
    parser.add_argument(
        '--k',
        type=at_least(0),
        nargs='+',
        default=[None],
        help="numbers of patches, instead of the config's; each gets a row; models "
        'without a selector have one row',
    )
    parser.add_argument(
        '--sweep',
        type=file_of('.png'),
        metavar='FILE.png',
        help='count at 1 to 8 times the height and width of --shape and draw this plot',
    )
    parser.add_argument(
        '--out', type=file_of('.json'), metavar='FILE.json', help='write all figures to this file'
    )
    args = parser.parse_args(argv)
    if args.sweep and not args.shape:
        parser.error('--sweep needs --shape, the size to begin with, such as --shape 1 54 110.')
    return args


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    shapes = [args.shape]
    if args.sweep:
        channels, height, width = args.shape
        shapes = [[channels, factor * height, factor * width] for factor in SWEEP]
    models = [
        (config, k)
        for config in args.configs
        for k in (args.k if 'k' in selector_of(read_config(config)) else [None])
    ]
    if args.k != [None] and all(k is None for _, k in models):
        raise ValueError('--k sets the k of a selector, but no model here has one: leave it out.')
    runs = list(product(shapes, models))  # small images first
    # Close the progress bar on errors too: a bar left open would, when it is garbage-collected,
    # wait for another bar that is being drawn.
    with closing(track(runs, description='Counting', transient=True)) as counting:
        costs = [cost_of(config, k, shape) for shape, (config, k) in counting]

    names = dict(zip(args.configs, names_of(args.configs), strict=True))
    if args.sweep:
        labels = [names[config] if k is None else f'{names[config]}, k={k}' for config, k in models]
        by_model = {label: costs[index :: len(labels)] for index, label in enumerate(labels)}
        print_totals(by_model)
        save(draw_totals(by_model), args.sweep)
    else:
        print_parts(costs, {str(config): name for config, name in names.items()})
    if args.out:
        write_json(args.out, costs)


def cost_of(config: Path, k: int | None, shape: list[int] | None) -> dict:
    """Count the cost of one image.

    Args:
        config: Config file.
        k: Number of patches; None means the config's.
        shape: (C, H, W) of a random image; None means the first test image.

    Returns:
        dict: ``config``, ``shape``, ``k`` (patches of the image; None without a selector),
        ``parameters``, ``parts`` (name -> multiplications) and their ``total``.

    Raises:
        FileNotFoundError: The config or its data are missing.
        ValueError: The model cannot take the image.
    """
    cfg = read_config(config)
    if k is not None:
        selector_of(cfg).k = k
    model = with_full_budgets(build_model(cfg))
    chosen = []
    if hasattr(model, 'selector'):
        model.selector.register_forward_hook(lambda *run: chosen.append(len(run[-1])))
        if model.saliency.needs_truth:  # the image has none; random cells cost the same
            model.saliency = RandomCells()
    if shape is None and cfg.get('test_dataloader') is None:
        raise ValueError(f'{config} names no test images to take a shape from; pass --shape C H W.')
    try:
        images = first_images(cfg, 1) if shape is None else torch.rand(1, *shape)
    except OSError as error:  # also raised by a dataset that would be downloaded
        raise FileNotFoundError(
            f'{config} has no test image to take a shape from ({one_line(error)}); '
            'pass --shape, which needs no data.'
        ) from error
    try:
        parts = multiplications_by_part(model, images)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f'{config} cannot run on an image of {times(images.shape[1:])} ({one_line(error)}).'
        ) from error
    return dict(
        config=str(config),
        shape=list(images.shape[1:]),
        k=chosen[0] if chosen else None,
        parameters=sum(weight.numel() for weight in model.parameters()),
        parts=parts,
        total=sum(parts.values()),
    )


def selector_of(cfg: Config) -> dict:
    return cfg.model.get('selector', {})


def print_parts(costs: list[dict], names: dict[str, str]) -> None:
    """Print a row per model and k, in one table per image and set of parts."""
    for (shape, parts), rows in groupby(costs, lambda c: (tuple(c['shape']), tuple(c['parts']))):
        columns = [part.replace(' on ', ' on\n') for part in parts]
        print_table(
            f'Multiplications for an image of {times(shape)}',
            ['model', 'k', 'parameters', *columns, 'total'],
            [
                [
                    names[cost['config']],
                    '' if cost['k'] is None else str(cost['k']),
                    *(
                        f'{n:,}'
                        for n in (cost['parameters'], *cost['parts'].values(), cost['total'])
                    ),
                ]
                for cost in rows
            ],
        )


def print_totals(by_model: dict[str, list[dict]]) -> None:
    print_table(
        'Multiplications for an image',
        ['image', *by_model],
        [
            [times(rows[0]['shape']), *(f'{cost["total"]:,}' for cost in rows)]
            for rows in zip(*by_model.values(), strict=True)
        ],
    )


def draw_totals(by_model: dict[str, list[dict]]) -> Figure:
    """Draw the paper's Figure 5: multiplications against the image size, one line per model."""
    figure, axes = new_chart(
        xlabel='height × width of the image, pixels', ylabel='multiplications, 10⁹'
    )
    for name, costs in by_model.items():
        axes.plot(
            [times(cost['shape'][1:]) for cost in costs],
            [cost['total'] / 1e9 for cost in costs],
            marker='o',
            label=name,
        )
    axes.set_ylim(0, None)
    axes.legend()
    return figure


if __name__ == '__main__':
    main()
