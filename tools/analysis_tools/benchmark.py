"""Multiplications and time of models beside each other.

    python tools/analysis_tools/benchmark.py CONFIG [CONFIG ...] --batch-sizes 1 64

The weights are as initialised: they change neither figure. The models take turns in one process;
a time is the median, with the 10th to 90th percentile behind it.
"""
import argparse
import json
from functools import partial
from pathlib import Path
from typing import Dict, List

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from mmdcn.analysis import count_multiplications, interleaved_times
from mmdcn.utils.build import build_dataset, build_model

TABLE_WIDTH = 100  # characters


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='+', type=Path, metavar='CONFIG')
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1, 64])
    parser.add_argument('--rounds', type=int, default=20,
                        help='measurements of each (default: %(default)s)')
    parser.add_argument('--metrics', nargs='+', default=[], metavar='NAME=FILE',
                        help='show the test error that tools/test.py --out-item metrics wrote to '
                        'FILE, NAME being a name in the table')
    args = parser.parse_args()
    if min(args.batch_sizes) < 1 or args.rounds < 1:
        parser.error('--batch-sizes and --rounds must be at least 1.')
    for item in args.metrics:
        if '=' not in item or not Path(item.split('=', 1)[1]).is_file():
            parser.error(f'--metrics takes NAME=FILE with a file that is there, got {item!r}.')
    args.configs = dict(zip(names_of(args.configs), args.configs))
    args.metrics = dict(item.split('=', 1) for item in args.metrics)
    unknown = sorted(set(args.metrics) - set(args.configs))
    if unknown:
        parser.error(f'--metrics names {unknown}, but the models are {list(args.configs)}.')
    return args


def names_of(configs: List[Path]) -> List[str]:
    """``dcn-k8_1xb128-60e_cluttered-mnist.py`` -> ``dcn-k8``, or all of it where two are alike."""
    short = [path.stem.split('_')[0] for path in configs]
    return short if len(set(short)) == len(short) else [path.stem for path in configs]


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('WARNING')
    device = get_device()
    configs = {name: Config.fromfile(path) for name, path in args.configs.items()}
    models = {name: build_model(cfg).to(device) for name, cfg in configs.items()}
    images = first_images(next(iter(configs.values())), max(args.batch_sizes)).to(device)

    columns = {'multiplications': {name: f'{count_multiplications(model, images[:1]):,}'
                                   for name, model in models.items()}}
    for size in track(args.batch_sizes, description='Timing', transient=True):
        columns[f'ms, batch {size}'] = measure(models, images[:size], args.rounds)
    if args.metrics:
        columns['test error'] = {name: test_error(path) for name, path in args.metrics.items()}

    threads = f', {torch.get_num_threads()} threads' if device == 'cpu' else ''
    print_table(f'An image of {"×".join(map(str, images.shape[1:]))} on {device}{threads}',
                list(models), columns)


def first_images(cfg: Config, number: int) -> torch.Tensor:
    """The first images of the test set as a model sees them, (number, C, H, W)."""
    dataset = build_dataset(cfg)
    inputs = torch.stack([dataset[index]['inputs'] for index in range(number)])
    return build_model(cfg).data_preprocessor(dict(inputs=inputs))['inputs']


def measure(models: Dict[str, nn.Module], images: torch.Tensor, rounds: int) -> Dict[str, str]:
    """Milliseconds an image: median (10th to 90th percentile), by model."""
    with torch.no_grad():
        times = interleaved_times(
            {name: partial(model, images) for name, model in models.items()}, rounds)
    spread = {name: 1000 * np.percentile(values, (10, 50, 90)) / len(images)
              for name, values in times.items()}
    return {name: f'{median:.2f} ({low:.2f}–{high:.2f})'
            for name, (low, median, high) in spread.items()}


def test_error(metrics: str) -> str:
    return f'{100 - json.loads(Path(metrics).read_text())["accuracy/top1"]:.2f} %'


def print_table(title: str, names: List[str], columns: Dict[str, Dict[str, str]]) -> None:
    """Print a row a name; a column maps names to cells and may leave some out."""
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column('model', no_wrap=True)
    for column in columns:
        table.add_column(column, justify='right', no_wrap=True)
    for name in names:
        table.add_row(name, *(cells.get(name, '') for cells in columns.values()))
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)  # no figure is cut where output is piped
    console.print(table)


if __name__ == '__main__':
    main()
