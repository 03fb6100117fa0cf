"""Compare the multiplications, time and memory of models.

    python tools/analysis_tools/benchmark.py CONFIG [CONFIG ...] --batch-sizes 1 64 --out times.json

The models take turns in one process, so that a disturbance of the machine affects all alike. A time
is the median, followed by the 10th and 90th percentiles. A ratio compares two models in the same
turn. All models have folded batch norms and channels-last weights. The weights are untrained. This
changes no figure, because an adaptive selector gives each image its largest number of patches.
The tool says so if the times vary so much that the machine must be busy.

--training adds the memory of a training step on the first training image, which needs the data.
--variants adds rows that show the gain of each optimisation: each model as built, without folding
and channels last; each DCN with autograd instead of its saliency's closed form, so that its head
reads all of the refined map; each model compiled by torch.compile, which takes minutes and needs a
C++ compiler; and each model in ONNX Runtime, whose export takes up to a minute. The time in ONNX
Runtime includes normalisation, because a graph takes raw images. Its memory is left out, because
torch cannot see it.

--from-files times each model from a file to the answer instead, opening and decoding included. A
DCN whose preprocessor is LateNormalization reads an overview and its patches; beside it stand the
same DCN on the pixels of the whole file in memory, and its coarse tower alone on the overview. A
network whose test pipeline has LoadOverview reads the overview, and any other the whole file. What
would need more memory than is free is not run, and the table says how much. The files are in the
system's cache, so no time of a disk is in the figures. The memory is that of one prediction in a
new process, above that of its packages and weights.
"""

import argparse
import copy
import json
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.device import get_device
from mmengine.logging import MMLogger
from rich.progress import track
from torch import nn

from mmdcn.analysis import count_multiplications, interleaved_times, peak_memory, with_full_budgets
from mmdcn.deployment import optimize_for_inference
from mmdcn.engine.cpu import keep_freed_memory
from mmdcn.models.heads.entropy import entropy_and_gradient_norm_by_autograd
from mmdcn.structures import Measured
from mmdcn.utils.build import build_dataset, build_model, first_images, read_config
from mmdcn.visualization.pictures import save

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.analysis_tools.file_times import time_files
from tools.analysis_tools.steadiness import busy, variation
from tools.command_line import at_least, errors_as_messages, existing_file, file_of
from tools.output import names_of, print_table, spread, times, write_json

VARIANTS = ('as-built', 'autograd', 'compiled', 'onnxruntime')


class Row(NamedTuple):
    """A model and the way it is run."""

    config: str  # name of the config
    variant: str  # '' for the model itself
    model: nn.Module
    run: Callable[[torch.Tensor], torch.Tensor]
    memory_is_seen: bool = True  # whether torch allocates what the run needs

    @property
    def name(self) -> str:
        """Return the name of the model in tables."""
        return f'{self.config}, {self.variant}' if self.variant else self.config


class Measurement(NamedTuple):
    """Seconds per batch in each round, and the memory of one batch."""

    row: Row
    shape: tuple[int, int, int]
    batch: int
    seconds: np.ndarray
    bytes: int | None  # None: not known

    def per_image(self) -> np.ndarray:
        """Return milliseconds per image: 10th percentile, median and 90th percentile."""
        return 1000 * np.percentile(self.seconds, (10, 50, 90)) / self.batch


class InOnnxRuntime:
    """Runs a model in ONNX Runtime, on random raw images of the shape of the given images.

    Args:
        model: The model to export.
        shape: Channels, height and width of an image.
    """

    def __init__(self, model: nn.Module, shape: tuple[int, int, int]) -> None:
        from tools.deploy.export_onnx import export  # it says which package is missing

        self.graph = export(model, shape)
        self.raw: dict[str, np.ndarray] = {}
        self.opened_for: torch.Size | None = None

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits or log-probabilities of raw images."""
        if images.shape != self.opened_for:  # in a round that is not measured
            self.open(images.shape)
        # A graph's other outputs are not computed by the other rows.
        (answer,) = self.session.run([self.answer], self.raw, self.options)
        return torch.from_numpy(answer)

    def open(self, shape: torch.Size) -> None:
        """Prepare for batches of one shape, (N, C, H, W)."""
        from onnxruntime import RunOptions

        from mmdcn.deployment import INPUT, open_session

        self.session = open_session(self.graph, shape)
        self.answer = self.session.get_outputs()[0].name
        self.options = RunOptions()
        self.options.only_execute_path_to_fetches = True
        self.raw = {INPUT: torch.randint(0, 256, shape, dtype=torch.uint8).numpy()}
        self.opened_for = shape


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='+', type=Path, metavar='CONFIG')
    parser.add_argument('--batch-sizes', type=at_least(1), nargs='+', default=[1, 64])
    parser.add_argument(
        '--shapes',
        type=shape,
        nargs='+',
        metavar='CxHxW',
        help='time random images of these sizes, such as 1x400x900 (default: the '
        'first test images of the first config)',
    )
    parser.add_argument(
        '--from-files',
        type=existing_file,
        nargs='+',
        default=[],
        metavar='FILE',
        help='time from these files to the answer, on the CPU; all files are in the cache of the '
        'system, as after a first reading',
    )
    parser.add_argument(
        '--device', default=get_device(), help='device to run on (default here: %(default)s)'
    )
    parser.add_argument(
        '--threads',
        type=at_least(1),
        default=1,
        help='CPU threads that a model runs with (default: %(default)s, so images/s are those that '
        'a server gets from each core)',
    )
    parser.add_argument(
        '--rounds', type=at_least(1), default=20, help='rounds to measure (default: %(default)s)'
    )
    parser.add_argument(
        '--training',
        action='store_true',
        help='also measure the memory of a training step on one image',
    )
    parser.add_argument(
        '--variants', nargs='+', default=[], choices=VARIANTS, help='variants of each model to add'
    )
    parser.add_argument(
        '--metrics',
        nargs='+',
        default=[],
        metavar='NAME=FILE',
        help='show the test error that tools/test.py --out-item metrics wrote to '
        'FILE for the model NAME of the table',
    )
    parser.add_argument(
        '--out',
        type=file_of('.json'),
        metavar='FILE.json',
        help='write all figures to this file, and a plot beside it (none with --from-files)',
    )
    args = parser.parse_args(argv)
    for item in args.metrics:
        if '=' not in item or not Path(item.split('=', 1)[1]).is_file():
            parser.error(f'--metrics takes NAME=FILE with a file that is there, got {item!r}.')
    args.configs = dict(zip(names_of(args.configs), args.configs, strict=True))
    args.metrics = dict(item.split('=', 1) for item in args.metrics)
    unknown = sorted(set(args.metrics) - set(args.configs))
    if unknown:
        parser.error(f'--metrics names {unknown}, but the models are {list(args.configs)}.')
    if 'onnxruntime' in args.variants and args.device != 'cpu':
        parser.error('--variants onnxruntime runs on the CPU: pass --device cpu.')
    if args.from_files:
        for option in ('shapes', 'training', 'variants', 'metrics'):
            if getattr(args, option):
                parser.error(f'--{option} is not for --from-files: leave one of them out.')
        if args.batch_sizes != parser.get_default('batch_sizes'):
            parser.error('--from-files times one image at a time: leave --batch-sizes out.')
        if args.device != 'cpu':
            parser.error('--from-files runs on the CPU: pass --device cpu.')
    return args


def shape(text: str) -> tuple[int, int, int]:
    if not re.fullmatch(r'[1-9]\d*(x[1-9]\d*){2}', text):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not like 1x400x900 (channels, height, width).'
        )
    return tuple(map(int, text.split('x')))


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    keep_freed_memory()  # else page faults of large maps take much of the measured time
    MMLogger.get_current_instance().setLevel('WARNING')
    if args.from_files:
        time_files(args.configs, args.from_files, args.rounds, args.out)
        return
    configs = {name: read_config(path) for name, path in args.configs.items()}
    if args.shapes:
        largest = max(args.batch_sizes)
        inputs = [torch.rand(largest, *size).to(args.device) for size in args.shapes]
    else:
        images = first_images(next(iter(configs.values())), max(args.batch_sizes))
        inputs = [images.to(args.device)]
    rows = [
        row
        for name, cfg in configs.items()
        for row in rows_of(name, cfg, args.variants, args.device, tuple(inputs[0].shape[1:]))
    ]
    errors = {
        name: f'{100 - json.loads(Path(path).read_text())["accuracy/top1"]:.2f} %'
        for name, path in args.metrics.items()
    }
    training = (
        {name: training_memory(cfg, args.device) for name, cfg in configs.items()}
        if args.training
        else {}
    )

    everything, costs = [], []
    for images in inputs:
        measured = []
        for size in track(args.batch_sizes, description='Timing', transient=True):
            measured += measure(rows, images[:size], args)
        cost = {row.name: count_multiplications(row.model, images[:1]) for row in rows}
        report(measured, cost, errors, training, args.device)
        everything += measured
        costs += [cost[one.row.name] for one in measured]
    if noisy := warning(everything):
        print(noisy)
    if args.out:
        write(everything, costs, training, args)


def rows_of(
    name: str, cfg: Config, variants: Sequence[str], device: str, shape: tuple[int, int, int]
) -> list[Row]:
    """List the requested variants of a config's model and the model itself, slower ones first."""
    built = with_full_budgets(build_model(cfg)).to(device)
    fast = optimize_for_inference(copy.deepcopy(built))
    rows = [Row(name, '', fast, fast)]
    saliency = getattr(built, 'saliency', None)
    if 'autograd' in variants and getattr(saliency, 'gives_entropy', False):
        slow = copy.deepcopy(fast)
        slow.saliency.ask = ask_by_autograd
        rows.insert(0, Row(name, 'autograd', slow, slow))
    if 'as-built' in variants:
        rows.insert(0, Row(name, 'as-built', built, built))
    if 'compiled' in variants:
        compiled = torch.compile(fast, dynamic=False, options=dict(freezing=True))
        rows.append(Row(name, 'compiled', fast, compiled))
    if 'onnxruntime' in variants:
        run = InOnnxRuntime(fast, shape)
        rows.append(Row(name, 'onnxruntime', fast, run, memory_is_seen=False))
    return rows


def ask_by_autograd(head: nn.Module, feats: torch.Tensor) -> Measured:
    entropy, norm = entropy_and_gradient_norm_by_autograd(head, feats)
    return Measured(norm, entropy)


def training_memory(cfg: Config, device: str) -> int:
    """Measure the bytes of a forward and a backward pass for the config's first training image."""
    model = build_model(cfg).to(device).train()
    batch = default_collate([build_dataset(cfg, 'train')[0]])

    def step() -> None:
        data = model.data_preprocessor(batch, training=True)
        model.parse_losses(model(**data, mode='loss'))[0].backward()

    step()  # creates what is made only once, such as buffers of libraries
    model.zero_grad()
    return peak_memory(step, device)


def measure(
    rows: Sequence[Row], images: torch.Tensor, args: argparse.Namespace
) -> list[Measurement]:
    """Time one batch on all models in turn."""
    torch.compiler.reset()  # the compiler remembers only a few sizes
    with torch.inference_mode():
        runs = {row.name: partial(row.run, images) for row in rows}
        seconds = interleaved_times(runs, args.rounds)
        return [
            Measurement(
                row,
                tuple(images.shape[1:]),
                len(images),
                np.array(seconds[row.name]),
                peak_memory(runs[row.name], args.device) if row.memory_is_seen else None,
            )
            for row in rows
        ]


def report(
    measured: list[Measurement],
    cost: dict[str, int],
    errors: dict[str, str],
    training: dict[str, int],
    device: str,
) -> None:
    """Print a table of the models and a table of their ratios, for images of one shape."""
    batches = sorted({one.batch for one in measured})
    by_model = {name: {one.batch: one for one in measured if one.row.name == name} for name in cost}
    number = torch.get_num_threads()
    threads = f', {number} thread{"s" * (number > 1)}' if device == 'cpu' else ''
    title = f'An image of {times(measured[0].shape)} on {device}{threads}'
    columns = [
        'model',
        'multiplications',
        *(f'ms, batch {size}' for size in batches),
        'most images/s',
        f'MB, batch {batches[-1]}',
        *(['MB, training step'] if training else []),
        *(['test error'] if errors else []),
    ]
    print_table(
        title,
        columns,
        [
            [
                name,
                f'{cost[name]:,}',
                *(spread(ones[size].per_image()) for size in batches),
                f'{1000 / fastest(ones):.0f}',
                known(ones[batches[-1]].bytes, 1e6, '.1f'),
                *([f'{training[name] / 1e6:.1f}' if name in training else ''] if training else []),
                *([errors.get(name, '')] if errors else []),
            ]
            for name, ones in by_model.items()
        ],
    )

    row_of = {one.row.name: one.row for one in measured}
    pairs = [
        [
            f'{a} : {b}',
            f'{cost[a] / cost[b]:.2f}',
            *(spread(ratio(by_model[a][size], by_model[b][size])) for size in batches),
            f'{fastest(by_model[a]) / fastest(by_model[b]):.2f}',
            known(by_model[a][batches[-1]].bytes, by_model[b][batches[-1]].bytes, '.2f'),
            *(
                [f'{training[a] / training[b]:.2f}' if {a, b} <= set(training) else '']
                if training
                else []
            ),
        ]
        for a, b in combinations(by_model, 2)
        if row_of[a].variant == row_of[b].variant or row_of[a].config == row_of[b].config
    ]
    if pairs:
        print_table(
            'Ratios',
            [
                '',
                *columns[1:2],
                *(f'time, batch {size}' for size in batches),
                'time at best',
                *columns[3 + len(batches) :][: 1 + bool(training)],
            ],
            pairs,
        )


def warning(measured: Sequence[Measurement]) -> str:
    """Say which times vary most, if these vary more than on an idle machine; else return ''."""
    worst = max(measured, key=lambda one: variation(one.seconds))
    return busy(
        f'{worst.row.name} at batch {worst.batch} on images of {times(worst.shape)}', worst.seconds
    )


def known(value: int | None, divisor: float | None, form: str) -> str:
    """Format a quotient, or return a dash if a part of it is not known."""
    return '–' if value is None or divisor is None else format(value / divisor, form)


def ratio(one: Measurement, other: Measurement) -> np.ndarray:
    """Return the 10th, 50th and 90th percentiles of the ratio of times in the same turn."""
    return np.percentile(one.seconds / other.seconds, (10, 50, 90))


def fastest(by_batch: dict[int, Measurement]) -> float:
    """Return milliseconds per image at the model's fastest batch size."""
    return min(one.per_image()[1] for one in by_batch.values())


def write(
    measured: list[Measurement],
    costs: list[int],
    training: dict[str, int],
    args: argparse.Namespace,
) -> None:
    rows = []
    for one, cost in zip(measured, costs, strict=True):
        low, median, high = one.per_image()
        ratios = {
            other.row.name: list(ratio(one, other))
            for other in measured
            if (other.shape, other.batch) == (one.shape, one.batch) and other is not one
        }
        rows.append(
            dict(
                model=one.row.name,
                config=str(args.configs[one.row.config]),
                device=args.device,
                threads=torch.get_num_threads(),
                torch=torch.__version__,
                shape=one.shape,
                batch=one.batch,
                rounds=args.rounds,
                multiplications=cost,
                ms_per_image=median,
                ms_per_image_10=low,
                ms_per_image_90=high,
                peak_bytes=one.bytes,
                training_peak_bytes=training.get(one.row.name),
                # 10th, 50th and 90th percentiles of this time / another model's in the same turn.
                time_over=ratios,
            )
        )
    write_json(args.out, rows)

    shapes = list(dict.fromkeys(one.shape for one in measured))
    figure = Figure(figsize=(4 * len(shapes) + 1, 3.4), layout='constrained')
    panels = figure.subplots(1, len(shapes), squeeze=False)[0]
    for panel, size in zip(panels, shapes, strict=True):
        for name in dict.fromkeys(one.row.name for one in measured):
            ones = sorted(
                (one for one in measured if (one.row.name, one.shape) == (name, size)),
                key=lambda one: one.batch,
            )
            low, median, high = np.array([one.per_image() for one in ones]).T
            batches = [one.batch for one in ones]
            panel.plot(batches, median, marker='o', label=name)
            panel.fill_between(batches, low, high, alpha=0.2)
        panel.set(
            title=times(size),
            xlabel='images per batch',
            xscale='log',
            ylabel='milliseconds per image',
            yscale='log',
        )
        panel.legend()
    save(figure, args.out.with_suffix('.png'))


if __name__ == '__main__':
    main()
