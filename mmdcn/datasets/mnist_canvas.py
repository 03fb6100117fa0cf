"""Base class of datasets that draw MNIST's digits on a canvas."""

import os.path as osp
from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dataset import Compose
from mmpretrain.datasets import BaseDataset
from mmpretrain.datasets.categories import MNIST_CATEGORITES

from .boxed_pipeline import BoxedPipeline

DIGIT_SIZE = 28


class Split(NamedTuple):
    """The digits of MNIST that a split draws from."""

    prefix: str  # of the files' names
    total: int  # digits in the file
    part: slice  # digits of the split
    stream: int  # number of the random stream


SPLITS = {
    'train': Split('train', 60000, slice(0, 55000), 0),
    'val': Split('train', 60000, slice(55000, 60000), 1),
    'trainval': Split('train', 60000, slice(0, 60000), 2),
    'test': Split('t10k', 10000, slice(0, 10000), 3),
}


class SharedEpoch:
    """An epoch that worker processes see. A copy has an epoch of its own, which they see too."""

    def __init__(self, epoch: int = 0) -> None:
        self._value = torch.tensor(epoch).share_memory_()

    def set(self, epoch: int) -> None:
        """Tell all processes."""
        self._value.fill_(epoch)

    def __int__(self) -> int:
        return int(self._value)

    def __deepcopy__(self, memo: dict) -> 'SharedEpoch':
        """Copy into shared memory, as a tensor's own copy is not."""
        return SharedEpoch(int(self))


class MNISTCanvas(BaseDataset):
    """Base class of datasets that draw MNIST's digits on a canvas, on demand.

    An image depends on (seed, split, index) alone, and with ``regenerate`` on the epoch. It does
    not depend on the worker or the order.

    Args:
        data_root: Folder of the unpacked idx files that
            ``tools/dataset_converters/prepare_mnist.py`` makes.
        split: ``'train'``, ``'val'``, ``'trainval'`` or ``'test'``.
        canvas_size: Height and width of the image, in pixels.
        seed: Seed of everything random.
        regenerate: Draw new images in each epoch.
        **kwargs: Options of MMPretrain's ``BaseDataset``.

    Raises:
        FileNotFoundError: An idx file is missing.
        ValueError: A file is cut or is not an idx file of MNIST's size, a label is not a digit,
            an option is out of range, or boxes are packed after a transform that does not keep
            them right (see ``BoxedPipeline``).
    """

    METAINFO = {'classes': MNIST_CATEGORITES}
    pipeline: Compose
    least_canvas: int  # smallest canvas_size, in pixels
    must_hold: str  # what the canvas must have room for, for the error message

    def __init__(
        self,
        *,
        data_root: str,
        split: str,
        canvas_size: int,
        seed: int,
        regenerate: bool,
        **kwargs: Any,
    ) -> None:
        if split not in SPLITS:
            raise self._refusal('split', f'must be one of {list(SPLITS)}, got {split!r}.')
        if canvas_size < self.least_canvas:
            raise self._refusal(
                'canvas_size',
                f'must hold {self.must_hold}, at least '
                f'{self.least_canvas} pixels, got {canvas_size}.',
            )
        if seed < 0:
            raise self._refusal('seed', f'must be at least 0, got {seed}.')
        self.split = split
        self.canvas_size = canvas_size
        self.seed = seed
        self.regenerate = regenerate
        self._epoch = SharedEpoch()
        super().__init__(ann_file='', data_root=osp.expanduser(data_root), **kwargs)
        self.pipeline = BoxedPipeline(self.pipeline.transforms)

    def set_epoch(self, epoch: int) -> None:
        """Tell all workers the epoch, which changes images if ``regenerate`` is on."""
        self._epoch.set(epoch)

    def get_data_info(self, idx: int) -> dict:
        """Return the entry of ``idx`` with its image and boxes, before the pipeline."""
        info = super().get_data_info(idx)
        image, boxes = self._render(info)
        info.update(
            img=image,
            img_shape=image.shape,
            ori_shape=image.shape,
            gt_bboxes=np.array(boxes, np.float32),
        )
        return info

    @abstractmethod
    def _render(self, info: dict) -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
        """Return an entry's image, (H, W) uint8, and its digits' (x1, y1, x2, y2)."""

    def _generator(self, index: int) -> np.random.Generator:
        """Return the random generator of an image."""
        stream = SPLITS[self.split].stream
        return np.random.default_rng((self.seed, stream, index, self._drawn_in()))

    def _drawn_in(self) -> int:
        """Return the epoch that seeds the images: the current one, or 0 without ``regenerate``."""
        return int(self._epoch) if self.regenerate else 0

    def _read_digits(self) -> tuple[np.ndarray, np.ndarray]:
        """Read the split's digits (M, 28, 28) uint8 and their labels (M,)."""
        prefix, total, part, _ = SPLITS[self.split]
        images = _read_idx(
            osp.join(self.data_root, f'{prefix}-images-idx3-ubyte'), (total, DIGIT_SIZE, DIGIT_SIZE)
        )
        path = osp.join(self.data_root, f'{prefix}-labels-idx1-ubyte')
        labels = _read_idx(path, (total,))
        if labels.max() >= len(MNIST_CATEGORITES):
            raise ValueError(
                f'{path} holds the label {labels.max()}, but digits are 0 to 9; make '
                'it again with tools/dataset_converters/prepare_mnist.py.'
            )
        return images[part], labels[part]

    def _refusal(self, option: str, why: str) -> ValueError:
        return ValueError(f'{type(self).__name__}({option}=...) {why}')

    def extra_repr(self) -> list[str]:
        """Return lines for ``repr``."""
        return [
            f'Root of MNIST: \t{self.data_root}',
            f'Split: \t{self.split}',
            f'Seed: \t{self.seed}',
            f'Clutter anew each epoch: \t{self.regenerate}',
        ]


def box_at(top: int, left: int, size: int = DIGIT_SIZE) -> tuple[int, int, int, int]:
    """Return the (x1, y1, x2, y2) of a digit's window."""
    return left, top, left + size, top + size


def _read_idx(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """Read an idx file of unsigned bytes and check that it has this shape."""
    remedy = (
        f'run `python tools/dataset_converters/prepare_mnist.py --out {osp.dirname(path) or "."}`.'
    )
    if not osp.isfile(path):
        raise FileNotFoundError(f'The MNIST file {path} is missing; {remedy}')
    content = np.fromfile(path, np.uint8)
    header = np.array((0x800 + len(shape), *shape), '>i4').tobytes()  # type, rank, lengths
    if content.size != len(header) + np.prod(shape) or content[: len(header)].tobytes() != header:
        raise ValueError(
            f'The MNIST file {path} is corrupt: it is not an idx file of '
            f'{"×".join(map(str, shape))} bytes; {remedy}'
        )
    return content[len(header) :].reshape(shape)
