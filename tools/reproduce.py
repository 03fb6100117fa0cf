"""Reproduce a table or figure of the paper, from training to the file of results.

    python tools/reproduce.py table1 --seeds 0 1 2
    python tools/reproduce.py table1 --epochs 12 --seeds 0 --amp    # without a GPU
    python tools/reproduce.py table2 --width w25
    python tools/reproduce.py table2 --dataset svhn

The tool trains missing runs in work_dirs/reproduce, resumes interrupted ones and keeps finished
ones. It writes results/<name>.json with every figure and its origin. Hyper-parameters were chosen
on `val`; the weights of the last epoch are tested once. Run tools/dev_tools/fill_results.py
afterwards to write the figures into the pages.

--quick uses only a few images and writes to work_dirs/reproduce-quick. It shows that all steps work
together.
"""

import argparse
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.command_line import at_least, errors_as_messages
from tools.reproduction.cluttered_mnist import TABLE1, budgets, fig2, fig3, table1
from tools.reproduction.costs import cost, fig5
from tools.reproduction.large_images import large_images
from tools.reproduction.place import Place
from tools.reproduction.processes import stopping_tools
from tools.reproduction.provenance import command_line
from tools.reproduction.results import CLUTTERS
from tools.reproduction.street_numbers import table2

EXPERIMENTS = {
    function.__name__: function
    for function in (table1, budgets, fig2, fig3, table2, fig5, cost, large_images)
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('experiment', choices=EXPERIMENTS)
    parser.add_argument(
        '--device', help="'cpu', 'cuda' or 'cuda:1' (default: a GPU if there is one)"
    )
    parser.add_argument(
        '--seeds',
        type=at_least(0),
        nargs='+',
        default=[0, 1, 2],
        help='seeds for table1, budgets and table2; figures use the first (default: 0 1 2)',
    )
    parser.add_argument(
        '--quick',
        action='store_true',
        help='use only a few images, to check that everything works together',
    )
    parser.add_argument(
        '--epochs',
        type=at_least(1),
        help='epochs for table1, budgets, fig2 and fig3 (default: those of the config); the '
        'schedule is shortened in proportion',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train table1, budgets, fig2 and fig3 in mixed precision; tests use float32',
    )
    parser.add_argument(
        '--models',
        nargs='+',
        choices=[row.config for row in TABLE1],
        default=[row.config for row in TABLE1],
        help='rows of table1 to train',
    )
    parser.add_argument(
        '--clutter',
        nargs='+',
        choices=list(CLUTTERS),
        default=list(CLUTTERS),
        help='columns of table1 and budgets to train',
    )
    parser.add_argument(
        '--width',
        choices=['', 'w25'],
        default='',
        help="width of table2's towers: '' is the paper's, w25 a quarter of it",
    )
    parser.add_argument(
        '--dataset',
        choices=['street-numbers', 'svhn'],
        default='street-numbers',
        help='dataset of table2: the synthetic twin of SVHN, or SVHN itself',
    )
    parser.add_argument(
        '--jobs', type=at_least(1), default=1, help='trainings in parallel (default: %(default)s)'
    )
    parser.add_argument(
        '--no-timing',
        action='store_true',
        help='for cost: only count, if other work on the machine would disturb the times',
    )
    args = parser.parse_args(argv)
    if args.device and not re.fullmatch(r'cpu|cuda(:\d+)?', args.device):
        parser.error(f"--device takes 'cpu', 'cuda' or 'cuda:1', got {args.device!r}.")
    if args.dataset == 'svhn' and args.width:
        parser.error("--dataset svhn has towers of the paper's width only; leave --width out.")
    for option, experiments in (
        ('epochs', 'table1, budgets, fig2 and fig3'),
        ('amp', 'table1, budgets, fig2 and fig3'),
        ('models', 'table1'),
        ('clutter', 'table1 and budgets'),
        ('width', 'table2'),
        ('dataset', 'table2'),
        ('no_timing', 'cost'),
    ):
        if (
            getattr(args, option) != parser.get_default(option)
            and args.experiment not in experiments
        ):
            parser.error(
                f'--{option.replace("_", "-")} is for {experiments}, not for {args.experiment}.'
            )
    return args


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    choose_device(args.device)
    base = Path('work_dirs', 'reproduce-quick' if args.quick else 'reproduce')
    results = base / 'results' if args.quick else Path('results')
    place = Place(args, command_line(sys.argv[1:] if argv is None else argv), base, results)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with stopping_tools():
            EXPERIMENTS[args.experiment](place)
    finally:
        signal.signal(signal.SIGTERM, before)


def choose_device(device: str | None) -> None:
    """Let all following tools see only the chosen device.

    Raises:
        ValueError: There is no such device.
    """
    if device is None:
        return
    _, _, index = device.partition(':')
    if device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
    elif index:
        # torch numbers only the GPUs that this process may see.
        visible = list(filter(None, os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',')))
        if visible:
            index = dict(enumerate(visible)).get(int(index), '-1')
        os.environ['CUDA_VISIBLE_DEVICES'] = index
    if device != 'cpu' and not torch.cuda.is_available():
        raise ValueError(
            f'--device {device}: torch {torch.__version__} finds no such GPU; leave '
            'the option out or take cpu.'
        )


if __name__ == '__main__':
    main()
