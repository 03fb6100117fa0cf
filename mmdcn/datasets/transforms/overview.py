"""Transforms for images that are read from files in part."""

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from mmcv import transforms as cv
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose

from mmdcn.datasets.boxed_pipeline import steps_of
from mmdcn.registry import TRANSFORMS
from mmdcn.sources import Source, Turn, Turned, open_source

# Transforms of other packages that take float32, move no pixels and keep their range.
_FIT = dict(mmcv='ImageToTensor LoadAnnotations', mmpretrain='Cutout PackInputs RandomErasing')
# The same, where the range is 0 to 255.
_FIT_8_BITS = dict(
    mmcv='RandomGrayscale',
    mmpretrain='Brightness ColorJitter ColorTransform Contrast Invert Lighting Sharpness Solarize '
    'SolarizeAdd',
)
_TURNS = [Turn(bool(i & 4), bool(i & 2), bool(i & 1)) for i in range(8)]


class SourcePath(str):
    """The path of an image that is read in part, which knows how to read it.

    It travels as ``img_path``, which MMPretrain's ``PackInputs`` puts into each data sample.

    Attributes:
        source: The source of the image, turned as the pipeline has turned it.
        scale: The scale of the overview that the pipeline has loaded.
    """

    source: Source
    scale: float

    def __new__(cls, source: Source, scale: float) -> 'SourcePath':
        """Return the source's path."""
        path = super().__new__(cls, source.path)
        path.source, path.scale = source, scale
        return path

    def __reduce__(self) -> tuple:
        return type(self), (self.source, self.scale)

    def turned(self, turn: Turn) -> 'SourcePath':
        """Return the path of the same image, turned."""
        return SourcePath(Turned(self.source, turn), self.scale)


@TRANSFORMS.register_module()
class LoadOverview(BaseTransform):
    """Loads a shrunk image; the DCN reads the pixels of its patches from the file.

    It stands in the place of ``LoadImageFromFile``. Colours are in the order blue, green, red.
    Transforms of colours change the overview alone. The only transforms of places are
    :class:`RandomFlip` and :class:`RandomTurn`; others are refused when the pipeline first runs.

    Required Keys:

    - img_path

    Modified Keys:

    - img_path: the same path as a :class:`SourcePath`

    Added Keys:

    - img: (⌊H·scale⌋, ⌊W·scale⌋, C) float32
    - img_shape: its height and width
    - ori_shape: (H, W) of the file

    Args:
        scale: Share of height and width that the overview has, the ``coarse_scale`` of the DCN.
        cache: Keeps overviews in files: True beside the image, a path in that folder. For files
            without a pyramid, which are read whole for each overview.

    Raises:
        FileNotFoundError: There is no such file.
        ModuleNotFoundError: The format needs a package of requirements/large.txt.
        ValueError: ``scale`` is not within (0, 1], the file cannot be read, or a transform of the
            pipeline moves pixels in the overview alone.
    """

    keeps_boxes = fits_overviews = reads_in_part = True

    def __init__(self, scale: float, cache: str | os.PathLike | bool = False) -> None:
        if not 0 < scale <= 1:
            raise ValueError(
                'LoadOverview(scale=...) is the share of height and width that the overview has, '
                f'within (0, 1], got {scale}.'
            )
        self.scale = scale
        self.cache = cache
        self._checked = False
        self._of_8_bits: list[str] = []

    def transform(self, results: dict) -> dict:
        """Load the overview of ``results['img_path']``."""
        if not self._checked:
            self._check_the_pipeline()
        source = open_source(results['img_path'], self.cache)
        if self._of_8_bits and source.dtype != np.uint8:
            raise ValueError(
                f'{source.path} holds {source.dtype.itemsize * 8} bits, and '
                f'{", ".join(self._of_8_bits)} takes 0 to 255: leave it out for such files.'
            )
        overview = source.overview(self.scale)
        results.update(
            img=overview,
            img_path=SourcePath(source, self.scale),
            img_shape=overview.shape[:2],
            ori_shape=source.size,
        )
        return results

    def _check_the_pipeline(self) -> None:
        """Check the other transforms of the pipeline that calls this one.

        A transform is told nothing about those that follow, and no dataset of MMPretrain checks
        them. So this looks for the pipeline among its callers.
        """
        frame: Any = sys._getframe(1)
        while frame is not None:
            pipeline = frame.f_locals.get('self')
            if isinstance(pipeline, Compose):
                self._of_8_bits += check_transforms(pipeline.transforms)
            frame = frame.f_back
        self._checked = True

    def __repr__(self) -> str:
        return f'{type(self).__name__}(scale={self.scale}, cache={self.cache})'


@TRANSFORMS.register_module()
class RandomTurn(BaseTransform):
    """Flips and turns an image at random, into one of its eight symmetries.

    It takes whole images and overviews of files. True boxes turn with the pixels.

    Required Keys:

    - img

    Modified Keys:

    - img
    - img_shape
    - img_path, ori_shape: after :class:`LoadOverview`
    - gt_bboxes: if there are any

    Args:
        transpose: Whether to turn by a quarter as well, which exchanges rows and columns.
    """

    keeps_boxes = fits_overviews = True

    def __init__(self, transpose: bool = True) -> None:
        self.transpose = transpose

    def transform(self, results: dict) -> dict:
        """Turn the image."""
        _turn(results, _TURNS[np.random.randint(8 if self.transpose else 4)])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(transpose={self.transpose})'


@TRANSFORMS.register_module()
class RandomFlip(cv.RandomFlip):
    """MMCV's ``RandomFlip``, which flips the file of an overview too.

    It has the same options. True boxes of a file are flipped in its pixels.
    """

    keeps_boxes = fits_overviews = True

    def _flip(self, results: dict) -> None:
        if isinstance(results.get('img_path'), SourcePath):
            _turn(results, Turn.flip(results['flip_direction']))
        else:
            super()._flip(results)


def _turn(results: dict, turn: Turn) -> None:
    """Turn the image, its file if it is an overview, and its true boxes."""
    path = results.get('img_path')
    size = results['img'].shape[:2]
    if isinstance(path, SourcePath):
        size = path.source.size
        results.update(img_path=path.turned(turn), ori_shape=turn.size(size))
    results['img'] = np.ascontiguousarray(turn.array(results['img']))
    results['img_shape'] = results['img'].shape[:2]
    if 'gt_bboxes' in results:
        results['gt_bboxes'] = turn.boxes(results['gt_bboxes'], size)


def check_transforms(transforms: Iterable[Callable]) -> list[str]:
    """Check that all transforms of a pipeline with :class:`LoadOverview` fit it.

    Returns:
        list: The names of those that fit images of 8 bits only.

    Raises:
        ValueError: A transform is not known to leave all pixels in their places and their range, or
            what tells the model about the file is not packed.
    """
    steps = list(steps_of(transforms))
    of_8_bits = []
    for step in steps:
        kind, name = type(step), getattr(step, '__name__', type(step).__name__)
        if 'img_path' not in getattr(step, 'meta_keys', ['img_path']):
            raise ValueError(
                f'{name}(meta_keys=...) leaves out img_path, by which the DCN reads the file: add '
                'it.'
            )
        package = kind.__module__.partition('.')[0]
        fit, fit_8_bits = (
            kind.__name__ in known.get(package, '').split() for known in (_FIT, _FIT_8_BITS)
        )
        if fit_8_bits and getattr(step, 'backend', 'cv2') == 'cv2':
            of_8_bits.append(name)
        elif not fit and not getattr(step, 'fits_overviews', False):
            raise ValueError(
                f'{name} may move pixels of the overview, or change their range, and the patches '
                'that are read from the file would not follow, or it takes no float32: use '
                "mmdcn.RandomFlip or mmdcn.RandomTurn, backend='cv2', normalise in the "
                'data_preprocessor, or set fits_overviews = True on a class of your own that '
                'takes float32, moves no pixels and keeps their range.'
            )
    return of_8_bits
