"""Multiplications and time of models beside each other.

    python tools/analysis_tools/benchmark.py CONFIG [CONFIG ...] --batch-sizes 1 64

The weights are as initialised: they change neither figure. The models take turns in one process;
a time is the median, with the 10th to 90th percentile behind it.
"""
import argparse
import json
from functools import partial
from pathlib import Path
from typing import Dict

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.logging import MMLogger
from rich.progress import track
from torch import nn

from mmdcn.analysis import count_multiplications, interleaved_times
from mmdcn.utils.build import build_model, first_images, read_config
from mmdcn.utils.table import names_of, print_table


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


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('WARNING')
    device = get_device()
    configs = {name: read_config(path) for name, path in args.configs.items()}
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
                ['model', *columns],
                [[name, *(cells.get(name, '') for cells in columns.values())] for name in models])


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


if __name__ == '__main__':
    main()
