"""Multiplications and time of models beside each other.

    python tools/analysis_tools/benchmark.py CONFIG [CONFIG ...] --batch-sizes 1 64

The weights are as initialised: they change neither figure. The models take turns in one process;
a time is the median, with the 10th to 90th percentile behind it.
"""
import argparse
import json
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
                        "FILE, NAME being the beginning of a config's name up to the first _")
    args = parser.parse_args()
    args.metrics = dict(item.split('=', 1) for item in args.metrics)
    unknown = set(args.metrics) - {short_name(path) for path in args.configs}
    if unknown:
        parser.error(f'--metrics names {sorted(unknown)}, but the configs are '
                     f'{[short_name(path) for path in args.configs]}.')
    return args


def short_name(config: Path) -> str:
    """``dcn-k8_1xb128-60e_cluttered-mnist.py`` -> ``dcn-k8``."""
    return config.stem.split('_')[0]


def measure(models: Dict[str, nn.Module], images: torch.Tensor,
            rounds: int) -> Dict[str, List[float]]:
    """Milliseconds an image, ``rounds`` of them for each model."""
    with torch.no_grad():
        times = interleaved_times(
            {name: lambda model=model: model(images) for name, model in models.items()}, rounds)
    return {name: [1000 * t / len(images) for t in values] for name, values in times.items()}


def with_spread(milliseconds: List[float]) -> str:
    low, median, high = np.percentile(milliseconds, (10, 50, 90))
    return f'{median:.2f} ({low:.2f}–{high:.2f})'


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('WARNING')
    device = get_device()
    configs = {short_name(path): Config.fromfile(path) for path in args.configs}
    models = {name: build_model(cfg).to(device) for name, cfg in configs.items()}
    dataset = build_dataset(next(iter(configs.values())))
    preprocessor = next(iter(models.values())).data_preprocessor
    batches = {size: preprocessor(dict(
        inputs=torch.stack([dataset[index]['inputs'] for index in range(size)])))['inputs']
        for size in args.batch_sizes}

    one = preprocessor(dict(inputs=dataset[0]['inputs'].unsqueeze(0)))['inputs']
    rows = {name: [f'{count_multiplications(model, one):,}'] for name, model in models.items()}
    for images in track(batches.values(), description='Timing', transient=True):
        for name, milliseconds in measure(models, images, args.rounds).items():
            rows[name].append(with_spread(milliseconds))
    if args.metrics:
        for name in rows:
            rows[name].append(test_error(args.metrics[name]) if name in args.metrics else '')

    threads = f', {torch.get_num_threads()} threads' if device == 'cpu' else ''
    shape = '×'.join(map(str, one.shape[1:]))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f'An image of {shape} on {device}{threads}')
    table.add_column('model', no_wrap=True)
    for column in ('multiplications', *(f'ms, batch {size}' for size in args.batch_sizes),
                   *(['test error'] if args.metrics else [])):
        table.add_column(column, justify='right', no_wrap=True)
    for name, cells in rows.items():
        table.add_row(name, *cells)
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)  # no figure is cut where output is piped
    console.print(table)


def test_error(metrics: str) -> str:
    return f'{100 - json.loads(Path(metrics).read_text())["accuracy/top1"]:.2f} %'


if __name__ == '__main__':
    main()
