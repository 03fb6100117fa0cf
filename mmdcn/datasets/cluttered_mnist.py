import os.path as osp
from typing import Dict, List, Tuple

import numpy as np
import torch
from mmpretrain.datasets import BaseDataset
from mmpretrain.datasets.categories import MNIST_CATEGORITES

from mmdcn.registry import DATASETS

DIGIT_SIZE = 28

# split -> (file prefix, digits in the file, those of the split, stream of random numbers)
_SPLITS: Dict[str, Tuple[str, int, slice, int]] = {
    'train': ('train', 60000, slice(0, 55000), 0),
    'val': ('train', 60000, slice(55000, 60000), 1),
    'trainval': ('train', 60000, slice(0, 60000), 2),
    'test': ('t10k', 10000, slice(0, 10000), 3),
}


@DATASETS.register_module()
class ClutteredMNIST(BaseDataset):
    """One MNIST digit on a black canvas among fragments of others (Mnih et al., 2014).

    Each distractor is a square crop at a random place of a random digit of the same split,
    added at a random place of the canvas. After clipping, the whole 28×28 digit is added at
    a random place and the canvas is clipped again. Images are made when asked for and depend
    on (seed, split, index) alone, whatever the worker or the order.

    A sample has ``img`` (H, W) uint8, ``gt_label`` and ``gt_bboxes``, a (1, 4) float32 tensor
    with the (x1, y1, x2, y2) of the digit's 28×28 window.

    Args:
        data_root: Folder of the unpacked idx files that
            ``tools/dataset_converters/prepare_mnist.py`` makes.
        split: ``'train'`` (the first 55,000 digits), ``'val'`` (the last 5,000 of
            the training file), ``'trainval'`` (both) or ``'test'``.
        canvas_size: Height and width of the image, in pixels.
        num_distractors: Fragments an image.
        distractor_size: Height and width of a fragment, in pixels.
        seed: Chooses the clutter.
        regenerate: Draw clutter and places anew each epoch, which is an augmentation and not
            the paper's protocol. Needs ``SetEpochHook`` (in the default runtime) or calls
            of :meth:`set_epoch`.
        **kwargs: ``pipeline``, ``indices`` and whatever else MMPretrain's ``BaseDataset``
            takes.

    Raises:
        FileNotFoundError: An idx file is missing.
        ValueError: A file is cut or no idx file of MNIST's size, a label is not a digit, or an
            option is out of range.
    """

    METAINFO = {'classes': MNIST_CATEGORITES}

    def __init__(self, *, data_root: str, split: str = 'train', canvas_size: int = 100,
                 num_distractors: int = 8, distractor_size: int = 8, seed: int = 0,
                 regenerate: bool = False, **kwargs):
        if split not in _SPLITS:
            raise ValueError(f'ClutteredMNIST(split=...) must be one of {list(_SPLITS)}, got '
                             f'{split!r}.')
        if canvas_size < DIGIT_SIZE:
            raise ValueError(f'ClutteredMNIST(canvas_size=...) must hold a whole digit, at least '
                             f'{DIGIT_SIZE} pixels, got {canvas_size}.')
        if not 1 <= distractor_size <= DIGIT_SIZE:
            raise ValueError(f'ClutteredMNIST(distractor_size=...) is cut from a digit and must '
                             f'be 1 to {DIGIT_SIZE} pixels, got {distractor_size}.')
        if num_distractors < 0:
            raise ValueError(f'ClutteredMNIST(num_distractors=...) must be at least 0, got '
                             f'{num_distractors}.')
        if seed < 0:
            raise ValueError(f'ClutteredMNIST(seed=...) must be at least 0, got {seed}.')
        self.split = split
        self.canvas_size = canvas_size
        self.num_distractors = num_distractors
        self.distractor_size = distractor_size
        self.seed = seed
        self.regenerate = regenerate
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers see it
        super().__init__(ann_file='', data_root=data_root, **kwargs)

    def load_data_list(self) -> List[dict]:
        """Read the digits; an entry is a digit's place in the split and its label."""
        prefix, total, part, _ = _SPLITS[self.split]
        images = _read_idx(osp.join(self.data_root, f'{prefix}-images-idx3-ubyte'),
                           (total, DIGIT_SIZE, DIGIT_SIZE))
        path = osp.join(self.data_root, f'{prefix}-labels-idx1-ubyte')
        labels = _read_idx(path, (total, ))
        if labels.max() >= len(MNIST_CATEGORITES):
            raise ValueError(f'{path} holds the label {labels.max()}, but digits are 0 to 9; make '
                             'it again with tools/dataset_converters/prepare_mnist.py.')
        self._digits = images[part]
        return [dict(digit=digit, gt_label=label)
                for digit, label in enumerate(labels[part].tolist())]

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch it is, to all workers; it matters where ``regenerate`` is on."""
        self._epoch.fill_(epoch)

    def get_data_info(self, idx: int) -> dict:
        """The entry of ``idx`` with its image and box, before the pipeline."""
        info = super().get_data_info(idx)
        image, box = self._render(info['digit'])
        info.update(img=image, img_shape=image.shape, ori_shape=image.shape,
                    gt_bboxes=torch.tensor([box], dtype=torch.float32))
        return info

    def _render(self, digit: int) -> Tuple[np.ndarray, Tuple[int, int, int, int]]:
        """The image of a digit, (H, W) uint8, and the digit's (x1, y1, x2, y2)."""
        epoch = int(self._epoch) if self.regenerate else 0
        stream = _SPLITS[self.split][-1]
        rng = np.random.default_rng((self.seed, stream, digit, epoch))

        size = self.distractor_size
        crop_ends, place_ends = DIGIT_SIZE - size + 1, self.canvas_size - size + 1
        draws = rng.integers(0, (len(self._digits), crop_ends, crop_ends, place_ends, place_ends),
                             size=(self.num_distractors, 5)).tolist()
        digit_end = self.canvas_size - DIGIT_SIZE + 1
        top, left = rng.integers(0, digit_end, size=2).tolist()

        canvas = np.zeros((self.canvas_size, self.canvas_size), np.uint16)
        for source, crop_y, crop_x, y, x in draws:
            canvas[y:y + size, x:x + size] += (
                self._digits[source, crop_y:crop_y + size, crop_x:crop_x + size])
        np.minimum(canvas, 255, out=canvas)
        bottom, right = top + DIGIT_SIZE, left + DIGIT_SIZE
        canvas[top:bottom, left:right] += self._digits[digit]
        image = np.minimum(canvas, 255).astype(np.uint8)
        return image, (left, top, right, bottom)

    def extra_repr(self) -> List[str]:
        """Lines for ``repr``."""
        return [f'Root of MNIST: \t{self.data_root}', f'Split: \t{self.split}',
                f'Seed: \t{self.seed}', f'Clutter anew each epoch: \t{self.regenerate}']


def _read_idx(path: str, shape: Tuple[int, ...]) -> np.ndarray:
    """Read an idx file of unsigned bytes, which must have just this shape."""
    remedy = (f'run `python tools/dataset_converters/prepare_mnist.py --out '
              f'{osp.dirname(path) or "."}`.')
    if not osp.isfile(path):
        raise FileNotFoundError(f'The MNIST file {path} is missing; {remedy}')
    content = np.fromfile(path, np.uint8)
    header = np.array((0x800 + len(shape), *shape), '>i4').tobytes()  # type, rank, lengths
    if (content.size != len(header) + np.prod(shape)
            or content[:len(header)].tobytes() != header):
        raise ValueError(f'The MNIST file {path} is corrupt: it is not an idx file of '
                         f'{"×".join(map(str, shape))} bytes; {remedy}')
    return content[len(header):].reshape(shape)
