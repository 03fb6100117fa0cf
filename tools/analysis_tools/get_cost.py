"""Exact multiplications of models, part by part.

    python tools/analysis_tools/get_cost.py CONFIG [CONFIG ...] --k 8 24 --out cost.json
    python tools/analysis_tools/get_cost.py CONFIG [CONFIG ...] --shape 1 54 110 --sweep cost.png

Counted on the operators that a forward pass of one image executes; the weights are as initialised
and change nothing: where a selector is adaptive, the image gets as many patches as it can get. The
image is the first of the config's test set, as the model gets it, or a random one of --shape. With
--sweep the models run at 1 to 8 times the height and width of --shape and their totals are drawn,
as in the paper's Figure 5.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import groupby, product
from pathlib import Path

import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from rich.progress import track

from mmdcn.analysis import multiplications_by_part, with_full_budgets
from mmdcn.models import DCNClassifier, OracleCells, RandomCells
from mmdcn.utils.build import build_model, first_images, read_config
from mmdcn.utils.table import names_of, print_table

SWEEP = range(1, 9)  # times --shape; from 54×110 on, up to the size of SVHN's largest images


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='+', type=Path, metavar='CONFIG')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=3,
        metavar=('C', 'H', 'W'),
        help='channels, height and width of the image (default: those of the first test image)',
    )
    parser.add_argument(
        '--k',
        type=int,
        nargs='+',
        default=[None],
        help="patches, in place of the config's; several give a row each; models "
        'without a selector have one row',
    )
    parser.add_argument(
        '--sweep',
        type=Path,
        metavar='FILE.png',
        help='count at 1 to 8 times the height and width of --shape and draw it',
    )
    parser.add_argument('--out', type=Path, metavar='FILE.json', help='write all figures there')
    args = parser.parse_args()
    if args.shape and min(args.shape) < 1:
        parser.error(f'--shape takes three numbers of at least 1, got {args.shape}.')
    if args.k != [None] and min(args.k) < 0:
        parser.error(f'--k counts patches and must be at least 0, got {min(args.k)}.')
    if args.sweep and not args.shape:
        parser.error('--sweep needs --shape, the size to begin with, such as --shape 1 54 110.')
    for option, suffix in (('sweep', '.png'), ('out', '.json')):
        path = getattr(args, option)
        if path and path.suffix != suffix:
            parser.error(f'--{option} writes a {suffix} file, got {path}.')
    return args


def main() -> None:
    args = parse_args()
    shapes = [args.shape]
    if args.sweep:
        channels, height, width = args.shape
        shapes = [[channels, times * height, times * width] for times in SWEEP]
    models = [
        (config, k)
        for config in args.configs
        for k in (args.k if 'k' in selector_of(read_config(config)) else [None])
    ]
    if args.k != [None] and all(k is None for _, k in models):
        raise SystemExit('--k sets the k of a selector, but no model here has one: leave it out.')
    runs = list(product(shapes, models))  # small images first
    # A bar that an error leaves open would wait, when it is collected, for one that is drawn then.
    with closing(track(runs, description='Counting', transient=True)) as counting:
        costs = [cost_of(config, k, shape) for shape, (config, k) in counting]

    names = dict(zip(args.configs, names_of(args.configs)))
    if args.sweep:
        labels = [names[config] if k is None else f'{names[config]}, k={k}' for config, k in models]
        by_model = {label: costs[index :: len(labels)] for index, label in enumerate(labels)}
        print_totals(by_model)
        save(args.sweep, draw_totals(by_model).savefig)
    else:
        print_parts(costs, {str(config): name for config, name in names.items()})
    if args.out:
        save(args.out, lambda path: path.write_text(json.dumps(costs, indent=1) + '\n'))


def cost_of(config: Path, k: int | None, shape: list[int] | None) -> dict:
    """What one image costs.

    Args:
        config: Config file.
        k: Patches; None takes the config's.
        shape: (C, H, W); None takes the first test image.

    Returns:
        dict: ``config``, ``shape``, ``k`` (patches that the image has; None without a selector),
        ``parameters``, ``parts`` (name -> multiplications) and their ``total``.

    Raises:
        SystemExit: The config is not there, its data are not there, or the model cannot take the
            image.
    """
    cfg = read_config(config)
    if k is not None:
        selector_of(cfg).k = k
    model = with_full_budgets(build_model(cfg))
    chosen = []
    if isinstance(model, DCNClassifier):
        model.selector.register_forward_hook(lambda *run: chosen.append(run[-1].size(1)))
        if isinstance(model.saliency, OracleCells):  # multiplies as little, but needs true boxes
            model.saliency = RandomCells()
    if shape is None and cfg.get('test_dataloader') is None:
        raise SystemExit(f'{config} names no test images to take a shape from; pass --shape C H W.')
    try:
        images = first_images(cfg, 1) if shape is None else torch.rand(1, *shape)
    except OSError as error:  # also of a dataset that would be downloaded
        raise SystemExit(
            f'{config} has no test image to take a shape from ({_first_line(error)}); '
            'pass --shape, which needs no data.'
        ) from error
    try:
        parts = multiplications_by_part(model, images)
    except (RuntimeError, ValueError) as error:
        raise SystemExit(
            f'{config} cannot run on an image of {_times(images.shape[1:])} ({_first_line(error)}).'
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
    """Print a row a model and k, in a table for each image and each set of parts."""
    for (shape, parts), rows in groupby(costs, lambda c: (tuple(c['shape']), tuple(c['parts']))):
        columns = [part.replace(' on ', ' on\n') for part in parts]
        print_table(
            f'Multiplications for an image of {_times(shape)}',
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
            [_times(rows[0]['shape']), *(f'{cost["total"]:,}' for cost in rows)]
            for rows in zip(*by_model.values())
        ],
    )


def draw_totals(by_model: dict[str, list[dict]]) -> Figure:
    """The paper's Figure 5: multiplications against the size of the image, a line a model."""
    figure = Figure(figsize=(7, 4), layout='constrained')
    axes = figure.subplots()
    for name, costs in by_model.items():
        axes.plot(
            [_times(cost['shape'][1:]) for cost in costs],
            [cost['total'] / 1e9 for cost in costs],
            marker='o',
            label=name,
        )
    axes.set(xlabel='height × width of the image, pixels', ylabel='multiplications, 10⁹', ylim=0)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def save(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)


def _first_line(error: Exception) -> str:
    return str(error).partition('\n')[0].rstrip('.')


def _times(sizes: Sequence[int]) -> str:
    return '×'.join(map(str, sizes))


if __name__ == '__main__':
    main()
