"""Test trained models on large files and say what share of the files' pixels each one read.

    python tools/analysis_tools/files_read.py CONFIG [CONFIG ...] --out files.json

The configs' test pipelines load images with LoadOverview. Each model is tested in a process of its
own with one thread, a file at a time. The weights are those of the last epoch in the config's
work_dir, or in work_dirs/<name of the config>.

- Pixels read are those of all overviews and windows that the model was given; what two windows
  share counts twice, and what a window has outside of the image not at all. The share is of the
  files' pixels at full size. A tile is decoded as a whole, so the pixels of all tiles that windows
  touch are counted as well, for TIFF.
- Seconds are from opening a file to its answer, and the median is printed. The system may have the
  file in memory already.
- Memory is the largest that the process took by the end of the test, with Python and its packages.
  What it took before the first file is printed beside it.
"""

import argparse
import math
import multiprocessing
import os
import resource
import shlex
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
import torch

from mmdcn.analysis.cost import counting
from mmdcn.engine.launch import build_test_runner, load_config
from mmdcn.sources.source import FileSource

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.command_line import add_cfg_options, errors_as_messages, existing_file, file_of
from tools.output import names_of, print_table, write_json
from tools.reproduction.provenance import provenance

KIB = 1 if sys.platform == 'darwin' else 1024  # bytes in a unit of ru_maxrss


class Window(NamedTuple):
    """A window that was read from a file, cut at the image's borders."""

    path: str
    top: int
    left: int
    bottom: int
    right: int

    @property
    def pixels(self) -> int:
        """Return the number of its pixels; 0 if it lies outside of the image."""
        return max(self.bottom - self.top, 0) * max(self.right - self.left, 0)


class Reads:
    """What was read from files: the pixels of overviews, and all windows."""

    def __init__(self) -> None:
        self.overviews = 0
        self.windows: list[Window] = []

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record what all sources read inside of a ``with`` block."""
        overview, windows = FileSource.overview, FileSource.windows

        def recorded_overview(source: FileSource, scale: float) -> np.ndarray:
            found = overview(source, scale)
            self.overviews += found.shape[0] * found.shape[1]
            return found

        def recorded_windows(
            source: FileSource, corners: Sequence[tuple[int, int]], height: int, width: int
        ) -> list[np.ndarray]:
            for top, left in corners:
                bottom, right = min(top + height, source.size[0]), min(left + width, source.size[1])
                self.windows.append(Window(source.path, max(top, 0), max(left, 0), bottom, right))
            return windows(source, corners, height, width)

        FileSource.overview, FileSource.windows = (  # type: ignore[method-assign]
            recorded_overview,
            recorded_windows,
        )
        try:
            yield
        finally:
            FileSource.overview, FileSource.windows = (  # type: ignore[method-assign]
                overview,
                windows,
            )


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='+', type=Path, metavar='CONFIG')
    parser.add_argument(
        '--checkpoints',
        nargs='+',
        type=existing_file,
        metavar='FILE',
        help="a checkpoint for each config (default: that of the last epoch in the config's "
        'work_dir)',
    )
    parser.add_argument(
        '--out', type=file_of('.json'), metavar='FILE.json', help='write all figures to this file'
    )
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.checkpoints and len(args.checkpoints) != len(args.configs):
        parser.error(
            f'--checkpoints names {len(args.checkpoints)} files for {len(args.configs)} configs: '
            'name one for each.'
        )
    return args


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    checkpoints = args.checkpoints or [last_checkpoint(path) for path in args.configs]
    rows = []
    for config, checkpoint in zip(args.configs, checkpoints, strict=True):
        # In a new process, memory is that of this model alone.
        with multiprocessing.get_context('spawn').Pool(1) as pool:
            rows.append(pool.apply(measure, (str(config), str(checkpoint), args.cfg_options)))
    shown = [shown_row(*both) for both in zip(names_of(args.configs), rows, strict=True)]
    print_table(
        f'{rows[0]["files"]} test files of {rows[0]["megapixels"]:.1f} megapixels on average',
        ['model', 'error %', 'pixels read %', 'tiles decoded %', 's / file', 'peak MiB']
        + ['before', 'multiplications'],
        shown,
    )
    if args.out:
        command = shlex.join(['python', *(sys.argv if argv is None else map(str, argv))])
        write_json(args.out, dict(command=command, **provenance(), rows=rows))
        print(f'{args.out} written.')


def last_checkpoint(path: Path) -> Path:
    """Return where training with a config leaves the weights of its last epoch.

    Raises:
        FileNotFoundError: They are not there.
    """
    cfg = load_config(path)
    checkpoint = Path(cfg.work_dir, f'epoch_{cfg.train_cfg.max_epochs}.pth')
    if not checkpoint.is_file():
        raise FileNotFoundError(
            f'{checkpoint} is missing: run `python tools/train.py {path}` or pass --checkpoints.'
        )
    return checkpoint


def shown_row(name: str, row: dict) -> list[str]:
    decoded = row['decoded_share']
    return [
        name,
        f'{row["error"]:.1f}',
        f'{100 * row["read_share"]:.2f}',
        '–' if decoded is None else f'{100 * decoded:.2f}',
        f'{row["seconds"][1]:.3f}',
        f'{row["peak_bytes"] / 2**20:.0f}',
        f'{row["before_bytes"] / 2**20:.0f}',
        f'{row["multiplications"]:,.0f}',
    ]


def measure(config: str, checkpoint: str, options: dict) -> dict:
    """Test a model file by file.

    Returns:
        dict: ``error`` in percent; ``read_share`` and ``decoded_share`` of the pixels;
        ``seconds``, the 10th percentile, the median and the 90th; ``before_bytes`` and
        ``peak_bytes`` of the process; ``multiplications`` of a file on average.

    Raises:
        ValueError: The pipeline loads images as a whole.
    """
    torch.set_num_threads(1)
    cfg = load_config(config, options)
    cfg.test_dataloader.update(batch_size=1, num_workers=0, persistent_workers=False)
    cfg.log_level = 'WARNING'
    cfg.work_dir = os.path.join(cfg.work_dir, 'files_read')
    runner = build_test_runner(cfg, checkpoint)
    runner.load_or_resume()
    model: Any = runner.model.eval()
    loader: Any = runner.test_dataloader
    evaluator = runner.test_evaluator
    evaluator.dataset_meta = loader.dataset.metainfo
    reads, seconds, sizes = Reads(), [], {}
    before = peak_bytes()
    with torch.no_grad(), reads.recorded():
        start = time.perf_counter()
        for batch in loader:
            samples = model.test_step(batch)
            seconds.append(time.perf_counter() - start)
            evaluator.process(data_samples=samples, data_batch=batch)
            path = samples[0].img_path
            if not hasattr(path, 'source'):
                raise ValueError(f'{config} loads images as a whole: load them with LoadOverview.')
            sizes[path.source.path] = path.source.size
            start = time.perf_counter()
    peak = peak_bytes()
    (accuracy,) = (
        value for name, value in evaluator.evaluate(len(sizes)).items() if 'accuracy' in name
    )
    total = sum(map(math.prod, sizes.values()))
    windows = sum(window.pixels for window in reads.windows)
    tiles = decoded(reads.windows)
    return dict(
        config=config,
        files=len(sizes),
        megapixels=total / len(sizes) / 1e6,
        error=100 - accuracy,
        overview_pixels=reads.overviews,
        window_pixels=windows,
        read_share=(reads.overviews + windows) / total,
        decoded_share=None if tiles is None else (reads.overviews + tiles) / total,
        seconds=np.percentile(seconds, (10, 50, 90)).tolist(),
        before_bytes=before,
        peak_bytes=peak,
        multiplications=multiplications(model, loader),
    )


def peak_bytes() -> int:
    """Return the most memory that this process has taken so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB


def multiplications(model: Any, loader: Any) -> float:
    """Return the multiplications of a file on average."""
    counts = []
    for batch in loader:
        with torch.no_grad(), counting(model) as parts:
            model.test_step(batch)
        counts.append(sum(parts.values()))
    return statistics.fmean(counts)


def decoded(windows: Sequence[Window]) -> int | None:
    """Return the pixels of all tiles that windows touch, or None if a file is no TIFF."""
    try:
        tiles = {path: tile_of(path) for path in {window.path for window in windows}}
    except tifffile.TiffFileError:
        return None
    return sum(
        math.prod(
            tile * (math.ceil(end / tile) - begin // tile)
            for begin, end, tile in (
                (window.top, window.bottom, tiles[window.path][0]),
                (window.left, window.right, tiles[window.path][1]),
            )
        )
        for window in windows
        if window.pixels
    )


def tile_of(path: str) -> tuple[int, int]:
    """Return height and width of a TIFF's tiles or strips."""
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        if page.is_tiled:
            return page.tilelength, page.tilewidth
        return page.rowsperstrip, page.imagewidth


if __name__ == '__main__':
    main()
