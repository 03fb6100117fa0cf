"""Transforms for images that are read from files in part."""

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose

from mmdcn.datasets.boxed_pipeline import steps_of
from mmdcn.registry import TRANSFORMS
from mmdcn.sources import Source, Turn, Turned, open_source

# Transforms of other packages that move no pixels and keep their range, or flip and say so.
_FIT = dict(
    mmcv='ImageToTensor LoadAnnotations RandomFlip RandomGrayscale ToTensor TransformBroadcaster',
    mmengine='Compose',
    mmpretrain='AutoContrast Brightness ColorJitter ColorTransform Contrast Cutout Equalize '
    'GaussianBlur Invert Lighting NumpyToPIL PILToNumpy PackInputs Posterize RandomErasing '
    'Sharpness Solarize SolarizeAdd',
    torchvision='ColorJitter GaussianBlur PILToTensor RandomAdjustSharpness RandomAutocontrast '
    'RandomEqualize RandomErasing RandomInvert RandomPosterize RandomSolarize ToPILImage ToTensor',
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

    def flipped(self, direction: str) -> Source:
        """Return the source as ``RandomFlip`` has flipped its overview."""
        return Turned(self.source, Turn.flip(direction))


@TRANSFORMS.register_module()
class LoadOverview(BaseTransform):
    """Loads a shrunk image; the DCN reads the pixels of its patches from the file.

    It stands in the place of ``LoadImageFromFile``. Colours are in the order blue, green, red.
    Transforms of colours change the overview alone. The only transforms of places are flips by
    ``RandomFlip`` and :class:`RandomTurn`; others are refused when the pipeline first runs.

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

    def transform(self, results: dict) -> dict:
        """Load the overview of ``results['img_path']``."""
        if not self._checked:
            self._check_the_pipeline()
        source = open_source(results['img_path'], self.cache)
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
                check_turns(pipeline.transforms)
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
        turn = _TURNS[np.random.randint(8 if self.transpose else 4)]
        path = results.get('img_path')
        size = results['img'].shape[:2]
        if isinstance(path, SourcePath):
            size = path.source.size
            source = Turned(path.source, turn)
            results.update(img_path=SourcePath(source, path.scale), ori_shape=source.size)
        results['img'] = np.ascontiguousarray(turn.array(results['img']))
        results['img_shape'] = results['img'].shape[:2]
        if 'gt_bboxes' in results:
            results['gt_bboxes'] = turn.boxes(results['gt_bboxes'], size)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(transpose={self.transpose})'


def check_turns(transforms: Iterable[Callable]) -> None:
    """Check that all transforms of a pipeline with :class:`LoadOverview` fit it.

    Raises:
        ValueError: A transform is not known to leave all pixels in their places and their range, or
            what tells the model about the file is not packed.
    """
    steps = list(steps_of(transforms))
    packs_boxes = any('gt_bboxes' in getattr(step, 'algorithm_keys', ()) for step in steps)
    needed = {'img_path'}
    if any(type(step).__name__ == 'RandomFlip' for step in steps):
        needed |= {'flip', 'flip_direction'}
    for step in steps:
        lacking = needed - set(getattr(step, 'meta_keys', needed))
        if lacking:
            raise ValueError(
                f'{type(step).__name__}(meta_keys=...) leaves out {", ".join(sorted(lacking))}, by '
                'which the DCN knows how to read the file: add it.'
            )
    for step in steps:
        kind, name = type(step), getattr(step, '__name__', type(step).__name__)
        known = _FIT.get(kind.__module__.partition('.')[0], '').split()
        if kind.__name__ not in known and not getattr(step, 'fits_overviews', False):
            raise ValueError(
                f'{name} may move pixels of the overview, or change their range, and the patches '
                'that are read from the file would not follow: use RandomFlip or mmdcn.RandomTurn, '
                'normalise in the data_preprocessor, or set fits_overviews = True on a class of '
                'your own that does neither.'
            )
        if kind.__name__ == 'RandomFlip' and packs_boxes:
            raise ValueError(
                'RandomFlip would flip gt_bboxes, which are in pixels of the file, as if they were '
                'in pixels of the overview: use mmdcn.RandomTurn(transpose=False).'
            )
