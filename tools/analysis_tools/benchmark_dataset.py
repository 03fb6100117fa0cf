"""Images a second that a dataset makes, alone and through a data loader.

    python tools/analysis_tools/benchmark_dataset.py CONFIG --num-workers 1 2 --out speeds.json

The first row is the dataset with its pipeline in this process; the others are the config's loader
with so many workers, batches collated. Each is measured several times in turn; a figure
is the median, with the lowest and the highest behind it.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.runner import Runner
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmdcn.utils.build import build_dataset, read_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config')
    parser.add_argument('--subset', choices=['train', 'val', 'test'], default='train')
    parser.add_argument('--num-workers', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--num', type=int, default=4096, help='images of one measurement')
    parser.add_argument('--rounds', type=int, default=5, help='measurements of each')
    parser.add_argument('--out', type=Path, metavar='FILE.json', help='write all figures there')
    args = parser.parse_args()
    if args.out and args.out.suffix != '.json':
        parser.error(f'--out writes a .json file, got {args.out}.')
    return args


def main() -> None:
    args = parse_args()
    cfg = read_config(args.config)
    loader_cfg = cfg[f'{args.subset}_dataloader']
    loader_cfg.dataset.indices = args.num
    dataset = build_dataset(cfg, args.subset)
    makers = {'dataset alone': lambda: exhaust(dataset[index] for index in range(len(dataset)))}
    for workers in args.num_workers:
        loader = Runner.build_dataloader(
            {
                **loader_cfg,
                'dataset': dataset,
                'num_workers': workers,
                'persistent_workers': workers > 0,
                'collate_fn': dict(type='default_collate'),
            }
        )
        makers[f'loader, {workers} worker{"s" * (workers != 1)}'] = partial(exhaust, loader)

    speeds = {name: [] for name in makers}
    for make in makers.values():  # starts the workers
        make()
    for _ in track(range(args.rounds), description='Timing', transient=True):
        for name, make in makers.items():
            speeds[name].append(len(dataset) / duration(make))

    table = Table('', title=f'{type(dataset).__name__}, {args.subset}', box=box.SIMPLE_HEAD)
    table.add_column('images/s', justify='right')
    for name, values in speeds.items():
        table.add_row(name, with_range(values))
    Console().print(table)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(
            json.dumps(
                [
                    dict(
                        config=args.config,
                        dataset=type(dataset).__name__,
                        subset=args.subset,
                        source=name,
                        images_per_second=values,
                    )
                    for name, values in speeds.items()
                ],
                indent=2,
            )
            + '\n'
        )


def exhaust(items: Iterable) -> None:
    for _ in items:
        pass


def duration(make: Callable[[], None]) -> float:
    start = time.perf_counter()
    make()
    return time.perf_counter() - start


def with_range(values: list[float]) -> str:
    return f'{np.median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f})'


if __name__ == '__main__':
    main()
