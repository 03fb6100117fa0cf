"""Measure how many images per second a dataset makes, alone and through a data loader.

    python tools/analysis_tools/benchmark_dataset.py CONFIG --num-workers 1 2 --out speeds.json

The first row is the dataset with its pipeline in this process. The other rows are the config's
loader with the given numbers of workers, which also collates batches. Each is measured several
times in turn. A figure is the median, followed by the lowest and the highest value.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.runner import Runner
from rich.progress import track

from mmdcn.utils.build import build_dataset, read_config

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.command_line import at_least, errors_as_messages, file_of
from tools.output import print_table, write_json


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config')
    parser.add_argument('--subset', choices=['train', 'val', 'test'], default='train')
    parser.add_argument('--num-workers', type=at_least(0), nargs='+', default=[1, 2])
    parser.add_argument('--num', type=at_least(1), default=4096, help='images per measurement')
    parser.add_argument('--rounds', type=at_least(1), default=5, help='measurements per row')
    parser.add_argument(
        '--out', type=file_of('.json'), metavar='FILE.json', help='write all figures to this file'
    )
    return parser.parse_args(argv)


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
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
                'collate_fn': dict(type='mmdcn.collate_any_sizes'),
            }
        )
        makers[f'loader, {workers} worker{"s" * (workers != 1)}'] = partial(exhaust, loader)

    speeds = {name: [] for name in makers}
    for make in makers.values():  # the first pass starts the workers
        make()
    for _ in track(range(args.rounds), description='Timing', transient=True):
        for name, make in makers.items():
            speeds[name].append(len(dataset) / duration(make))

    print_table(
        f'{type(dataset).__name__}, {args.subset}',
        ['', 'images/s'],
        [[name, with_range(values)] for name, values in speeds.items()],
    )
    if args.out:
        write_json(
            args.out,
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
