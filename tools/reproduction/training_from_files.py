"""Measure trainings from files: the share of reading in a step, and what stays open or in memory.

python -m tools.reproduction.training_from_files CONFIG reading --file FILE --out FILE.json
python -m tools.reproduction.training_from_files CONFIG soak --steps 2000 --out FILE.json
"""

import argparse
import os
import pickle
import re
import statistics
from collections.abc import Iterator, Sequence
from itertools import count, pairwise
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmpretrain.structures import DataSample

from mmdcn.datasets.transforms.overview import SourcePath
from mmdcn.engine.cpu import keep_freed_memory
from mmdcn.sources import open_source
from mmdcn.utils.build import build_loader, build_model, read_config
from tools.analysis_tools.file_times import PARTS, Moments
from tools.command_line import at_least, errors_as_messages, existing_file, file_of
from tools.output import write_json

CHECKS = 20  # of what is open and in memory, in a soak


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    MMLogger.get_current_instance().setLevel('WARNING')
    keep_freed_memory()
    cfg = read_config(args.config)
    write_json(args.out, reading(cfg, args) if args.what == 'reading' else soak(cfg, args.steps))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config of a DCN')
    parser.add_argument('what', choices=['reading', 'soak'])
    parser.add_argument('--file', type=existing_file, help='for reading: each image of a batch')
    parser.add_argument('--batch-size', type=at_least(1), default=16, help='for reading')
    parser.add_argument('--steps', type=at_least(CHECKS), default=2000, help='for soak')
    parser.add_argument('--rounds', type=at_least(1), default=5, help='for reading')
    parser.add_argument('--out', type=file_of('.json'), required=True, metavar='FILE.json')
    args = parser.parse_args(argv)
    if (args.what == 'reading') != (args.file is not None):
        parser.error('--file is for reading, and only for it.')
    return args


def reading(cfg: Config, args: argparse.Namespace) -> dict:
    """Time training steps, and the reading of windows in them, after a step to warm up."""
    dcn = build_model(cfg).train()
    moments = Moments(dcn)
    optimizer = torch.optim.SGD(dcn.parameters(), lr=1e-3)
    source, scale = open_source(args.file), dcn.coarse_scale
    overview = torch.from_numpy(source.overview(scale)).permute(2, 0, 1)
    sample = DataSample(metainfo=dict(img_path=SourcePath(source, scale))).set_gt_label(0)
    windows, rest = [], []
    for _ in range(1 + args.rounds):
        # Pickled, as by the workers of a loader: the first window of each opens its file.
        samples = [pickle.loads(pickle.dumps(sample)) for _ in range(args.batch_size)]
        moments.found = []
        moments.note()
        step(dcn, optimizer, dict(inputs=[overview] * args.batch_size, data_samples=samples))
        moments.note()
        seconds = dict(
            zip(PARTS[1:], [b - a for a, b in pairwise(moments.found)], strict=True)
        )  # nothing is opened
        windows.append(seconds.pop('windows'))
        rest.append(sum(seconds.values()))
    return dict(
        batch=args.batch_size,
        windows=args.batch_size * dcn.selector.k,
        threads=torch.get_num_threads(),
        rounds=args.rounds,
        step_seconds=statistics.median(rest[1:]),  # without reading
        windows_seconds=statistics.median(windows[1:]),
    )


def soak(cfg: Config, steps: int) -> dict:
    """Train for many steps, and note what files are open and how much memory is taken."""
    dcn = build_model(cfg).train()
    optimizer = torch.optim.SGD(dcn.parameters(), lr=1e-3)
    loader = build_loader(cfg, 'train')
    batches = (batch for _ in count() for batch in loader)
    found = [dict(step=number, **state) for number, state in run(dcn, optimizer, batches, steps)]
    warm, half = found[CHECKS // 10], len(found) // 2
    descriptors = [each['descriptors'] for each in found]
    return dict(
        steps=steps,
        files=len(loader.dataset),
        checks=found,
        # In the second half of the steps, more than in the first. Medians, because each batch that
        # a worker has ready takes some.
        descriptors_more=statistics.median(descriptors[half:])
        - statistics.median(descriptors[:half]),
        memory_ratio=found[-1]['bytes'] / warm['bytes'],
    )


def run(
    dcn: torch.nn.Module, optimizer: torch.optim.Optimizer, batches: Iterator[dict], steps: int
) -> Iterator[tuple[int, dict]]:
    for number in range(1, steps + 1):
        step(dcn, optimizer, next(batches))
        if number % (steps // CHECKS) == 0:
            resident = re.search(r'VmRSS:\s*(\d+)', Path('/proc/self/status').read_text())
            descriptors = len(os.listdir('/proc/self/fd'))
            yield number, dict(descriptors=descriptors, bytes=1024 * int(resident[1]))


def step(dcn: torch.nn.Module, optimizer: torch.optim.Optimizer, data: dict) -> None:
    """Train on one batch."""
    data = dcn.data_preprocessor(data, training=True)
    loss, _ = dcn.parse_losses(dcn(**data, mode='loss'))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


if __name__ == '__main__':
    main()
