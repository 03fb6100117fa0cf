"""The view of images that are read from files in part."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from mmpretrain.structures import DataSample

from .ragged import Ragged, join, parts_of
from .view import shrunk_size
from .windows import Windows

MOST_THREADS = 16
MOST_DEVIATIONS = 50  # of the median pixel of a 16-bit image from the mean


class SourceView:
    """Images in files: their overviews have been loaded, windows are read when they are cut.

    Args:
        overviews: (N, C, ⌊H·scale⌋, ⌊W·scale⌋); :class:`Ragged` if they differ in size.
        sources: The source of each image; see :class:`mmdcn.sources.Source`.
        normalize: Prepares pixels for a tower, (M, C, h, w) -> (M, C, h, w).
    """

    def __init__(
        self,
        overviews: torch.Tensor | Ragged,
        sources: Sequence[Any],
        normalize: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        self.overviews = overviews
        self.sources = sources
        self._ready = normalize

    def overview(self, scale: float) -> torch.Tensor | Ragged:
        """Return the overviews.

        Raises:
            ValueError: An overview is not that of its file at this scale, or a file of 16 bits is
                normalised as if it had 8.
        """
        for overview, source in zip(self.overviews, self.sources, strict=True):
            found, expected = tuple(overview.shape[1:]), shrunk_size(source.size, scale)
            if found != expected:
                raise ValueError(
                    f'The overview of {source.path} has {_times(found)} pixels, but the file has '
                    f'{_times(source.size)}, at a scale of {scale} {_times(expected)}: leave out '
                    'transforms that resize, crop or pad after LoadOverview.'
                )
            if overview.size(0) != source.channels:
                raise ValueError(
                    f'The overview of {source.path} has {overview.size(0)} channels and the file '
                    f'{source.channels}: leave out transforms that change the channels.'
                )
        ready = join([self._ready(part) for part in parts_of(self.overviews)])
        for overview, source in zip(ready, self.sources, strict=True):
            if source.dtype != np.uint8 and overview.abs().median() > MOST_DEVIATIONS:
                raise ValueError(
                    f'{source.path} holds {source.dtype.itemsize * 8} bits, and normalised it lies '
                    f'{overview.abs().median():.0f} standard deviations off: set mean and std of '
                    'the data_preprocessor to the range of these files.'
                )
        return ready

    def cut(self, windows: Windows) -> torch.Tensor:
        """Read the pixels of P windows from the files, (P, C, h, w), with zeros outside of images.

        This waits for the device once. Several threads read at once.

        Raises:
            FileNotFoundError: A file is gone.
            ValueError: A file has changed since its overview was read, or cannot be decoded.
        """
        places = torch.cat((windows.image.unsqueeze(1), windows.corners), dim=1).tolist()
        if not places:
            channels = parts_of(self.overviews)[0].size(1)
            return self._ready(windows.corners.new_zeros(0, channels, *windows.size))
        threads = min(MOST_THREADS, os.cpu_count() or 1)
        tasks = self._shares(places, threads)

        def read(task: tuple[Any, list[tuple[int, int]]]) -> list[np.ndarray]:
            source, corners = task
            return source.windows(corners, *windows.size)

        if min(threads, len(tasks)) > 1:
            with ThreadPoolExecutor(min(threads, len(tasks))) as pool:
                found = list(pool.map(read, tasks))
        else:
            found = list(map(read, tasks))
        # Contiguous, as patches of pixels in memory are: with others, channels last, oneDNN crashes
        # where it trains narrow 1×1 convolutions (torch 2.12).
        pixels = torch.from_numpy(np.stack(list(chain(*found)))).permute(0, 3, 1, 2).contiguous()
        if windows.corners.is_cuda:
            pixels = pixels.pin_memory().to(windows.corners.device, non_blocking=True)
        return self._ready(pixels)

    def _shares(
        self, places: Sequence[Sequence[int]], threads: int
    ) -> list[tuple[Any, list[tuple[int, int]]]]:
        """Divide (image, top, left) of windows into tasks, so that each thread has something to do.

        An image that has to be decoded whole is one task.
        """
        tasks = []
        each = max(1, len(places) // threads)
        for image, group in groupby(places, key=itemgetter(0)):
            source, corners = self.sources[image], [(top, left) for _, top, left in group]
            size = len(corners) if source.decodes_whole else each
            tasks += [
                (source, corners[start : start + size]) for start in range(0, len(corners), size)
            ]
        return tasks


def sources_of(data_samples: Sequence[DataSample] | None, scale: float) -> list[Any] | None:
    """Return the sources that ``LoadOverview`` has put into data samples, or None without any.

    Args:
        data_samples: The samples of a batch.
        scale: The scale at which the coarse tower sees images.

    Raises:
        ValueError: Only some of the samples have sources, or their overviews are of another scale.
    """
    samples = data_samples or []
    sources = [source_of(sample) for sample in samples]
    if all(source is None for source in sources):
        return None
    if any(source is None for source in sources):
        raise ValueError(
            'A batch mixes images that LoadOverview has loaded with others: load all in one way.'
        )
    for sample in samples:
        if sample.img_path.scale != scale:
            raise ValueError(
                f'LoadOverview(scale={sample.img_path.scale}) and '
                f'DCNClassifier(coarse_scale={scale}) must be equal: set both to one scale.'
            )
    return sources


def source_of(sample: DataSample) -> Any:
    """Return the source of an image that ``LoadOverview`` has loaded, or None of another one."""
    return getattr(sample.get('img_path'), 'source', None)


def full_size(sample: DataSample, image: torch.Tensor) -> tuple[int, int]:
    """Return height and width of the image in which a sample's boxes are, in pixels.

    Args:
        sample: The data sample.
        image: What the network got of it, (C, H, W): the image or its overview.
    """
    source = source_of(sample)
    return tuple(image.shape[-2:]) if source is None else source.size  # type: ignore[return-value]


def _times(size: Sequence[int]) -> str:
    return '×'.join(map(str, size))
