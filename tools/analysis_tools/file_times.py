"""Time models from a file to the answer, for benchmark.py --from-files."""

import ctypes
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import combinations, pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.analysis import interleaved_runs, peak_memory, with_full_budgets
from mmdcn.datasets.transforms.overview import SourcePath
from mmdcn.deployment import optimize_for_inference
from mmdcn.models import DCNClassifier
from mmdcn.sources import ImageFileSource, Source, TiffSource, open_source
from mmdcn.structures import View, Windows, shrunk_size, source_view
from mmdcn.utils.build import build_model, read_config
from tools.analysis_tools.steadiness import busy, variation
from tools.output import print_table, spread, times, write_json

PARTS = ('open', 'overview', 'coarse', 'select', 'windows', 'fine', 'head')
WHOLE_PARTS = ('read whole', 'network')
IN_MEMORY, COARSE_ALONE = 'read whole and shrunk', 'coarse tower alone'
_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
_LARGE = 2**16  # bytes of what is given back to the system when it is freed
TRIAL = 512  # height and width of the image that tells the memory of a pixel


class Way(NamedTuple):
    """A way from a file to an answer.

    Attributes:
        model: Name of the config.
        kind: '' for the config's own way, or what is done in its place.
        run: Takes the way once and returns the moments between its parts.
        parts: Names of the parts.
        needs: Bytes of memory, about; 0 for ways that need little.
    """

    model: str
    kind: str
    run: Callable[[], list[float]]
    parts: Sequence[str]
    needs: int = 0

    @property
    def name(self) -> str:
        """Return the name of the way in tables."""
        return f'{self.model}, {self.kind}' if self.kind else self.model


class Timed(NamedTuple):
    """What was measured of a way. Without rounds, it needs more memory than is free."""

    way: Way
    seconds: np.ndarray  # (rounds,)
    parts: np.ndarray  # (rounds, parts)
    bytes: int | None  # None: not known


class Moments:
    """Notes when the parts of a DCN's prediction end, in the order of :data:`PARTS`."""

    def __init__(self, dcn: DCNClassifier) -> None:
        self.found: list[float] = []
        self._look, self._describe = dcn.look, dcn.describe
        dcn.look, dcn.describe = self.look, self.describe  # type: ignore[method-assign]
        dcn.coarse.register_forward_hook(lambda *_: self.note())

    def note(self) -> None:
        """Note that a part ends now."""
        self.found.append(time.perf_counter())

    def look(self, *inputs: Any) -> View:
        """Return the DCN's view, which notes when overview and windows have been read."""
        return _NotedView(self._look(*inputs), self.note)

    def describe(self, *inputs: Any) -> torch.Tensor:
        """Return what the DCN makes of the patches, and note when it has."""
        fine = self._describe(*inputs)
        self.note()
        return fine


class _NotedView:
    def __init__(self, view: View, note: Callable[[], None]) -> None:
        self.view, self.note = view, note

    def overview(self, scale: float) -> Any:
        overview = self.view.overview(scale)
        self.note()
        return overview

    def cut(self, windows: Windows) -> torch.Tensor:
        self.note()
        pixels = self.view.cut(windows)
        self.note()
        return pixels


def time_files(
    configs: dict[str, Path], files: Sequence[str], rounds: int, out: Path | None
) -> None:
    """Time all models on each file, print tables and write the figures."""
    keep_to_threads(torch.get_num_threads())
    models = {name: _Model(path) for name, path in configs.items()}
    rows, ran = [], []
    for file in files:
        source = open_source(file)
        timed = measure(models, source, rounds)
        report(source, timed)
        done = [one for one in timed if one.parts.size]
        agreements = {
            one.way.model: agreement(models[one.way.model], source)
            for one in done
            if one.way.kind == IN_MEMORY
        }
        rows += [row_of(source, one, timed, models, agreements) for one in timed]
        ran += [(f'{one.way.name} on {Path(file).name}', one.seconds) for one in done]
    if ran and (sentence := busy(*max(ran, key=lambda one: variation(one[1])))):
        print(sentence)
    if out:
        write_json(out, rows)


def keep_to_threads(number: int) -> None:
    """Let networks compute, and what reads files decode, with so many threads."""
    torch.set_num_threads(number)
    cv2.setNumThreads(number)
    source_view.MOST_THREADS = number


class _Model:
    """A model of a config, made ready to be timed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        cfg = read_config(path)
        self.network: Any = optimize_for_inference(with_full_budgets(build_model(cfg)))
        self.moments: Moments | None = None
        self.scale: float | None = overview_scale(cfg)  # of what is read, None: the whole image
        if isinstance(self.network, DCNClassifier):
            self.moments = Moments(self.network)
            late = hasattr(self.network.data_preprocessor, 'normalize')
            self.scale = self.network.coarse_scale if late else None

    @property
    def reads_patches(self) -> bool:
        """Return whether the model reads an overview and patches."""
        return self.moments is not None and self.scale is not None


def overview_scale(cfg: Config) -> float | None:
    """Return the scale of the overview that a test pipeline loads, or None if it loads none."""
    dataset = cfg.get('test_dataloader', {}).get('dataset', {})
    for step in dataset.get('pipeline', ()):
        if str(step['type']).endswith('LoadOverview'):
            return step['scale']
    return None


def ways_of(name: str, model: _Model, source: Source) -> list[Way]:
    """List the ways of a model from a file to the answer."""
    network, path = model.network, source.path
    pixels = source.size[0] * source.size[1] * source.channels * source.dtype.itemsize
    whole = 2 * pixels  # as decoded, and with the channels first
    if not model.reads_patches:
        if model.scale is not None:
            run = partial(answer, network, partial(read_overview, path, model.scale))
            return [Way(name, '', run, ('read overview', 'network'))]
        run = partial(answer, network, partial(read_whole, path))
        return [Way(name, '', run, WHOLE_PARTS, whole + memory_of_pixels(network, source))]
    assert model.moments is not None and model.scale is not None
    small = (source.channels, *shrunk_size(source.size, model.scale))
    read = partial(read_overview, path, model.scale)
    return [
        Way(name, '', partial(noted_answer, network, model.moments, read), PARTS),
        Way(
            name,
            IN_MEMORY,
            partial(noted_answer, network, model.moments, partial(read_whole, path)),
            ('read whole', 'shrink', *PARTS[2:]),
            whole,
        ),
        Way(name, COARSE_ALONE, partial(coarse_alone, network, small), ('coarse',)),
    ]


def noted_answer(
    network: DCNClassifier, moments: Moments, read: Callable[[Callable[[], None]], dict]
) -> list[float]:
    """Predict, and return when each part of it began, and the end."""
    moments.found = [time.perf_counter()]
    data = read(moments.note)
    network.test_step(data)
    moments.note()
    return moments.found


def answer(network: Any, read: Callable[[Callable[[], None]], dict]) -> list[float]:
    """Predict without patches, and return when reading and predicting began, and the end."""
    start = time.perf_counter()
    data = read(lambda: None)
    middle = time.perf_counter()
    network.test_step(data)
    return [start, middle, time.perf_counter()]


def coarse_alone(network: DCNClassifier, shape: Sequence[int]) -> list[float]:
    """Run the coarse tower on an overview, and return when it began and ended."""
    overview = torch.rand(1, *shape)
    start = time.perf_counter()
    network.coarse(overview)
    return [start, time.perf_counter()]


def read_overview(path: str, scale: float, opened: Callable[[], None]) -> dict:
    """Return a batch of one image as ``LoadOverview`` loads it."""
    source = open_source(path)
    opened()
    return _batch(source.overview(scale), img_path=SourcePath(source, scale))


def read_whole(path: str, decoded: Callable[[], None]) -> dict:
    """Return a batch of all pixels of an image, as MMPretrain or tifffile reads it."""
    source = open_source(path)
    if isinstance(source, ImageFileSource) and source.dtype == np.uint8:
        pixels = mmcv.imread(path, 'color' if source.channels == 3 else 'grayscale')
    elif isinstance(source, TiffSource):
        import tifffile  # an optional package, which the source has needed

        pixels = tifffile.imread(path, key=0, maxworkers=1)
        if source.channels == 3:
            pixels = pixels[..., ::-1]
    else:
        pixels = source.window(0, 0, *source.size)
    batch = _batch(pixels.reshape(*source.size, source.channels))
    decoded()
    return batch


def _batch(pixels: np.ndarray, **fields: Any) -> dict:
    image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return dict(inputs=[image], data_samples=[DataSample(metainfo=fields)])


def memory_of_pixels(network: nn.Module, source: Source) -> int:
    """Estimate the bytes that a network needs for all pixels of an image, from a smaller one."""
    image = torch.rand(1, source.channels, TRIAL, TRIAL)
    with torch.inference_mode():
        network(image)  # what is made only once
        taken = image.nbytes + peak_memory(lambda: network(image))
    return round(taken * source.size[0] * source.size[1] / TRIAL**2)


def free_memory() -> int:
    """Return the bytes that processes can still take; without Linux, those of the machine."""
    try:
        text = Path('/proc/meminfo').read_text()
        return 1024 * int(re.search(r'MemAvailable:\s*(\d+)', text)[1])  # type: ignore[index]
    except (OSError, TypeError):
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


def measure(models: dict[str, _Model], source: Source, rounds: int) -> list[Timed]:
    """Time all ways on one file in turn, and measure the memory of each in a new process."""
    ways = [way for name, model in models.items() for way in ways_of(name, model, source)]
    free = free_memory()
    runs = {way.name: way.run for way in ways if way.needs < free}
    found: dict[str, list[list[float]]] = {way.name: [] for way in ways}
    with torch.inference_mode():
        for name, _, moments in interleaved_runs(runs, rounds):
            found[name].append([after - before for before, after in pairwise(moments)])
    timed = []
    for way in ways:
        parts = np.array(found[way.name]).reshape(-1, len(way.parts))
        path = models[way.model].path
        peak = peak_in_new_process(path, way.kind, source) if way.name in runs else None
        timed.append(Timed(way, parts.sum(axis=1), parts, peak))
    return timed


def peak_in_new_process(config: Path, kind: str, source: Source) -> int | None:
    """Measure the peak memory of taking a way once, above what is taken before, in bytes."""
    # Processes are forked from a server that has only imported this module, so they inherit neither
    # threads nor tensors.
    context = get_context('forkserver')
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_peak, config, kind, source.path, torch.get_num_threads()).result()


def _peak(config: Path, kind: str, path: str, threads: int) -> int | None:
    keep_to_threads(threads)
    if sys.platform == 'linux' and hasattr(libc := ctypes.CDLL(None), 'mallopt'):
        # Else what glibc keeps of freed tensors makes the peak another one each time.
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
    model, source = _Model(config), open_source(path)
    source.window(0, 0, 1, 1)  # by then, all that reads it is imported
    (way,) = (way for way in ways_of('', model, source) if way.kind == kind)
    del source
    before = _resident()
    if before is None:
        return None
    with torch.inference_mode():
        way.run()
    return _resident(peak=True) - before  # type: ignore[operator]


def _resident(peak: bool = False) -> int | None:
    """Return the bytes of memory that this process has, or had at most since the last call."""
    try:
        if not peak:
            ctypes.CDLL(None).malloc_trim(0)  # else what was freed before would count as nothing
            Path('/proc/self/clear_refs').write_text('5')  # the peak becomes what there is
        text = Path('/proc/self/status').read_text()
        return 1024 * int(re.search(r'VmHWM:\s*(\d+)', text)[1])  # type: ignore[index]
    except (AttributeError, OSError, TypeError):  # only Linux with glibc knows it
        return None


def agreement(model: _Model, source: Source) -> dict:
    """Compare a DCN on a file with the same DCN on all of its pixels in memory.

    Returns:
        dict: Whether the same cells are chosen, whether the patches at those of the file are equal
        bit by bit, and the largest difference of logits.
    """
    network = model.network

    def look(read: Callable) -> tuple[View, Any, torch.Tensor]:
        data = network.data_preprocessor(read(lambda: None))
        seen = network.extract_feat(data['inputs'], data['data_samples'])
        view = network.look(data['inputs'], data['data_samples'])
        return view, seen, network.head(seen.for_head)

    with torch.inference_mode():
        view, seen, logits = look(partial(read_overview, source.path, model.scale))
        whole_view, whole, expected = look(partial(read_whole, source.path))
        patches = (each.cut(seen.windows) for each in (view, whole_view))
        return dict(
            same_cells=torch.equal(seen.cells.index, whole.cells.index),
            equal_patches=torch.equal(*patches),
            logits_differ_by=(logits - expected).abs().max().item(),
        )


def report(source: Source, timed: Sequence[Timed]) -> None:
    """Print a table of times and memory and a table of ratios for one file."""
    threads = torch.get_num_threads()
    parts = list(dict.fromkeys(part for one in timed for part in one.way.parts))
    rows = []
    for one in timed:
        if not one.parts.size:
            row = [f'needs {one.way.needs / 1e9:.0f} GB', *('' for _ in parts), '–']
        else:
            medians = dict(zip(one.way.parts, 1000 * np.median(one.parts, axis=0), strict=True))
            row = [
                spread(1000 * np.percentile(one.seconds, (10, 50, 90))),
                *(f'{medians[part]:.2f}' if part in medians else '' for part in parts),
                '–' if one.bytes is None else f'{one.bytes / 1e6:.1f}',
            ]
        rows.append([one.way.name, *row])
    print_table(
        f'{Path(source.path).name}, {times((*source.size, source.channels))}, on cpu, {threads} '
        f'thread{"s" * (threads > 1)}, from the cache',
        ['', 'ms', *parts, 'MB'],
        rows,
    )
    pairs = [
        [
            f'{a.way.name} : {b.way.name}',
            spread(ratio(a, b)),
            f'{a.bytes / b.bytes:.2f}' if a.bytes and b.bytes else '–',
        ]
        for a, b in combinations(timed, 2)
        if a.parts.size and b.parts.size
    ]
    if pairs:
        print_table('Ratios', ['', 'time', 'MB'], pairs)


def ratio(one: Timed, other: Timed) -> np.ndarray:
    """Return the 10th, 50th and 90th percentiles of the ratio of times in the same turn."""
    return np.percentile(one.seconds / other.seconds, (10, 50, 90))


def row_of(
    source: Source,
    one: Timed,
    timed: Sequence[Timed],
    models: dict[str, _Model],
    agreements: dict[str, dict],
) -> dict:
    """Return the figures of a way for the file of results; without times if it was not run."""
    row = dict(
        file=Path(source.path).name,
        shape=(source.channels, *source.size),
        model=one.way.model,
        way=one.way.kind,
        config=str(models[one.way.model].path),
        device='cpu',
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        rounds=len(one.seconds),
        needed_bytes=one.way.needs,
        peak_bytes=one.bytes,
    )
    if one.parts.size:
        low, median, high = 1000 * np.percentile(one.seconds, (10, 50, 90))
        row.update(
            ms=median,
            ms_10=low,
            ms_90=high,
            # 10th, 50th and 90th percentiles
            parts_ms={
                part: (1000 * np.percentile(seconds, (10, 50, 90))).tolist()
                for part, seconds in zip(one.way.parts, one.parts.T, strict=True)
            },
            time_over={
                other.way.name: ratio(one, other).tolist()
                for other in timed
                if other is not one and other.parts.size
            },
        )
    if not one.way.kind and one.way.model in agreements:
        row.update(agreement=agreements[one.way.model])
    return row
