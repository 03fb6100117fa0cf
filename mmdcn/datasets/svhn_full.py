"""Uncropped SVHN (§4.2)."""

import logging
import os
import os.path as osp
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmpretrain.datasets import BaseDataset
from mmpretrain.datasets.categories import MNIST_CATEGORITES

from mmdcn.registry import DATASETS

from .boxed_pipeline import BoxedPipeline
from .digit_struct import DigitStruct, load_digit_struct

MAX_LENGTH = 5  # places for digits in a sequence
NO_DIGIT = 10  # class of a place without a digit
NO_LENGTH = -1  # length class of a number that is too long; never predicted

_SPLITS = ('train', 'extra', 'test')
_PARTS = ('all', 'train', 'val')


@DATASETS.register_module()
class SVHNFull(BaseDataset):
    """Uncropped Street View House Numbers, in the format 'full numbers' (Netzer et al., 2011).

    A sample has

    - ``img_path``;
    - ``gt_digits``: tuple of ints 0 to 9, in stored order, which is the reading order;
    - ``gt_sequence``: (6,) int64 tensor, the length minus 1 (0 to 4) and the classes of the five
      places (0 to 9, or 10 for none);
    - ``gt_bboxes``: (n, 4) float32 array of (x1, y1, x2, y2) in pixels of the image as shown,
      turned as its EXIF says. Boxes may reach outside of the image. Boxes without area are left
      out, so n may be below the number of digits.

    ``PackInputs(algorithm_keys=['gt_bboxes'])`` makes the boxes a tensor; see ``BoxedPipeline``.

    A number of six or more digits has no sequence. In training (``test_mode=False``), such images
    are dropped. With ``test_mode=True`` they stay, and their ``gt_sequence`` has length class -1
    and the first five digits, so every prediction for them is wrong.

    Images differ in size. The batch size must be 1, unless the pipeline resizes or crops all images
    to one size.

    Args:
        data_root: Folder with a folder for each split, each with images and ``digitStruct.mat``,
            as ``tools/dataset_converters/prepare_svhn.py`` makes it.
        split: ``'train'``, ``'extra'``, ``'test'``, or a list of these. The images always come in
            the order train, extra, test.
        part: ``'all'`` images of the splits; ``'val'``, a random sample of ``val_size`` of them;
            or ``'train'``, the others. ``seed`` and the splits fix the sample. Images that are
            missing or have too many digits are dropped after the sample is drawn.
        val_size: Number of images in the sample.
        seed: Seed of the sample.
        allow_missing: Drop listed images that are missing, with a line in the log, instead of
            raising an error.
        **kwargs: ``pipeline``, ``indices``, ``test_mode`` and the other options of MMPretrain's
            ``BaseDataset``.

    Raises:
        FileNotFoundError: A ``digitStruct.mat`` or images are missing.
        DigitStructError: A ``digitStruct.mat`` is broken.
        ValueError: An option is out of range, no image is left, or boxes are packed after a
            transform that does not keep them right.
    """

    METAINFO = {'classes': MNIST_CATEGORITES}
    pipeline: Compose

    def __init__(
        self,
        *,
        data_root: str,
        split: str | Sequence[str] = 'train',
        part: str = 'all',
        val_size: int = 5000,
        seed: int = 0,
        allow_missing: bool = False,
        **kwargs: Any,
    ) -> None:
        splits = [split] if isinstance(split, str) else list(split)
        if not splits or len(set(splits)) < len(splits) or not set(splits) <= set(_SPLITS):
            raise ValueError(
                f'SVHNFull(split=...) must be one of {list(_SPLITS)} or a list of '
                f'some, each once, got {split!r}.'
            )
        if part not in _PARTS:
            raise ValueError(f'SVHNFull(part=...) must be one of {list(_PARTS)}, got {part!r}.')
        if val_size < 1:
            raise ValueError(f'SVHNFull(val_size=...) must be at least 1, got {val_size}.')
        if seed < 0:
            raise ValueError(f'SVHNFull(seed=...) must be at least 0, got {seed}.')
        self.split = split
        self.part = part
        self.val_size = val_size
        self.seed = seed
        self.allow_missing = allow_missing
        self._splits = [name for name in _SPLITS if name in splits]
        super().__init__(ann_file='', data_root=osp.expanduser(data_root), **kwargs)
        self.pipeline = BoxedPipeline(self.pipeline.transforms)

    def load_data_list(self) -> list[dict]:
        """Read the indices and list each image's split and its row there.

        All other data stays in flat arrays, which workers share. :meth:`get_data_info` builds the
        full entry from them.
        """
        self._structs = {name: load_digit_struct(self._file(name)) for name in self._splits}
        splits = np.repeat(np.arange(len(self._splits)), self._sizes())
        rows = np.concatenate([np.arange(size) for size in self._sizes()])

        chosen = self._part_of(len(rows))
        chosen = chosen[self._present()[chosen]]
        chosen = self._representable(chosen)
        if not len(chosen):
            raise ValueError(
                f'No image is left of SVHNFull(split={self.split!r}, '
                f'part={self.part!r}) under {self.data_root}; extract the archives '
                'again or choose another split or part.'
            )
        self._report_empty_boxes()
        return [
            dict(split=self._splits[split], row=row)
            for split, row in zip(splits[chosen].tolist(), rows[chosen].tolist(), strict=True)
        ]

    def get_data_info(self, idx: int) -> dict:
        """Return the entry of ``idx``: path, digits, sequence and boxes, before the pipeline."""
        info = super().get_data_info(idx)
        struct: DigitStruct = self._structs[info['split']]
        row = info['row']
        digits = slice(struct.offsets[row], struct.offsets[row + 1])
        labels = struct.labels[digits].tolist()
        left, top, width, height = struct.boxes[digits].T
        boxes = np.stack([left, top, left + width, top + height], axis=1)
        boxes = boxes[(width > 0) & (height > 0)]
        info.update(
            img_path=osp.join(self.data_root, info['split'], struct.names[row].decode()),
            gt_digits=tuple(labels),
            gt_sequence=_sequence(labels),
            gt_bboxes=boxes,
        )
        return info

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the digits of a number, as ``ClassBalancedDataset`` wants them."""
        return list(self.get_data_info(idx)['gt_digits'])

    def get_gt_labels(self) -> np.ndarray:
        """Refuse: a number has several digits and no single label.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            'SVHNFull has no gt_label for each image, because a number has several digits: leave '
            'out what asks for single labels, such as a head with margins by class.'
        )

    def _file(self, split: str) -> str:
        return osp.join(self.data_root, split, 'digitStruct.mat')

    def _sizes(self) -> list[int]:
        return [len(struct) for struct in self._structs.values()]

    def _part_of(self, total: int) -> np.ndarray:
        """Return the part's images as indices into the images of all splits, ascending."""
        if self.part == 'all':
            return np.arange(total)
        if self.val_size >= total:
            raise ValueError(
                f'SVHNFull(val_size=...) must be less than the {total} images of '
                f'{self._splits}, got {self.val_size}.'
            )
        order = np.random.default_rng(self.seed).permutation(total)
        return np.sort(order[: self.val_size] if self.part == 'val' else order[self.val_size :])

    def _present(self) -> np.ndarray:
        """Return which images of the splits exist, (total,) bool."""
        masks = []
        for split, struct in self._structs.items():
            folder = osp.join(self.data_root, split)
            there = np.isin(struct.names, np.array([os.fsencode(n) for n in os.listdir(folder)]))
            missing = len(struct) - np.count_nonzero(there)
            if missing:
                first = struct.names[~there][0].decode()
                what = (
                    f'digitStruct.mat lists {len(struct)} images but {missing} are missing '
                    f'under {folder} (first: {first})'
                )
                if not self.allow_missing:
                    raise FileNotFoundError(
                        f'{what}; extract {split}.tar.gz again or pass allow_missing=True'
                    )
                _warn(f'{what}; they are left out.')
            masks.append(there)
        return np.concatenate(masks)

    def _representable(self, chosen: np.ndarray) -> np.ndarray:
        """Return the images of ``chosen`` that may be used; in testing, all of them."""
        lengths = np.concatenate([np.diff(struct.offsets) for struct in self._structs.values()])
        fits = lengths[chosen] <= MAX_LENGTH
        too_long = len(chosen) - np.count_nonzero(fits)
        if not too_long:
            return chosen
        what = f'SVHNFull: {too_long} of {len(chosen)} numbers have more than {MAX_LENGTH} digits'
        if self.test_mode:
            _warn(f'{what}; they count as wrong.')
            return chosen
        _warn(f'{what}; they are dropped from training.')
        return chosen[fits]

    def _report_empty_boxes(self) -> None:
        empty = sum(
            np.count_nonzero((struct.boxes[:, 2:] <= 0).any(axis=1))
            for struct in self._structs.values()
        )
        if empty:
            _warn(
                f'SVHNFull: {empty} boxes of {self._splits} have no area and are left out; '
                'their digits stay.'
            )

    def extra_repr(self) -> list[str]:
        """Return lines for ``repr``."""
        return [
            f'Root of SVHN: \t{self.data_root}',
            f'Split: \t{self.split}',
            f'Part: \t{self.part} ({self.val_size} for validation, seed {self.seed})',
        ]


def _sequence(digits: list[int]) -> torch.Tensor:
    """Return the target of a number, (6,): its length class, then the classes of five places."""
    length = len(digits) - 1 if len(digits) <= MAX_LENGTH else NO_LENGTH
    places = (digits + [NO_DIGIT] * MAX_LENGTH)[:MAX_LENGTH]
    return torch.tensor([length, *places])


def _warn(message: str) -> None:
    print_log(message, logger='current', level=logging.WARNING)
