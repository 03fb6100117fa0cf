"""Cluttered MNIST (§4.1)."""

import math
from typing import Any

import cv2
import numpy as np

from mmdcn.registry import DATASETS

from .mnist_canvas import DIGIT_SIZE, MNISTCanvas, box_at

ELASTIC_GRID = 6  # random displacements along each side of a digit
# (28, 28, 2): the (x, y) of each pixel relative to the digit's middle.
_FROM_MIDDLE = np.mgrid[:DIGIT_SIZE, :DIGIT_SIZE][::-1].transpose(1, 2, 0) - (DIGIT_SIZE - 1) / 2


@DATASETS.register_module()
class ClutteredMNIST(MNISTCanvas):
    """One MNIST digit on a black canvas, among fragments of other digits (Mnih et al., 2014).

    Each distractor is a random square crop of a random digit of the same split, added at a random
    place of the canvas. After clipping, the whole 28×28 digit is added at a random place, and the
    canvas is clipped again. Images are made on demand and depend on (seed, split, index) alone,
    not on the worker or the order.

    A sample has ``img`` (H, W) uint8, ``gt_label`` and ``gt_bboxes``, a (1, 4) float32 array
    with the (x1, y1, x2, y2) of the digit's 28×28 window.

    Args:
        data_root: Folder of the unpacked idx files that
            ``tools/dataset_converters/prepare_mnist.py`` makes.
        split: ``'train'`` (the first 55,000 digits), ``'val'`` (the last 5,000 of
            the training file), ``'trainval'`` (both) or ``'test'``.
        canvas_size: Height and width of the image, in pixels.
        num_distractors: Fragments per image.
        distractor_size: Height and width of a fragment, in pixels.
        seed: Chooses the clutter.
        regenerate: Draw new clutter and places in each epoch. This is an augmentation and not
            the paper's protocol. It needs ``SetEpochHook`` (in the default runtime) or calls of
            :meth:`set_epoch`.
        affine: Warp a random half of the digits by the identity plus a 2×2 matrix of uniform
            random numbers between minus and plus this value; 0.15 rotates, scales and shears by up
            to about 9° or 15 %. Fragments come from the warped digits too, because a warp blurs,
            and blur must not tell a digit from clutter.
        elastic: Also warp these digits by a smooth displacement of this standard deviation, in
            pixels, after Simard et al. (ICDAR 2003). Both warps are augmentations for
            ``regenerate``.
        **kwargs: ``pipeline``, ``indices`` and the other options of MMPretrain's
            ``BaseDataset``.

    Raises:
        FileNotFoundError: An idx file is missing.
        ValueError: A file is cut or is not an idx file of MNIST's size, a label is not a digit, or
            an option is out of range.
    """

    least_canvas = DIGIT_SIZE
    must_hold = 'a whole digit'

    def __init__(
        self,
        *,
        data_root: str,
        split: str = 'train',
        canvas_size: int = 100,
        num_distractors: int = 8,
        distractor_size: int = 8,
        seed: int = 0,
        regenerate: bool = False,
        affine: float = 0.0,
        elastic: float = 0.0,
        **kwargs: Any,
    ) -> None:
        if not 1 <= distractor_size <= DIGIT_SIZE:
            raise self._refusal(
                'distractor_size',
                f'is cut from a digit and must be 1 to {DIGIT_SIZE} pixels, got {distractor_size}.',
            )
        if num_distractors < 0:
            raise self._refusal('num_distractors', f'must be at least 0, got {num_distractors}.')
        for option, value in (('affine', affine), ('elastic', elastic)):
            if not 0 <= value < math.inf:
                raise self._refusal(option, f'must be a finite number of at least 0, got {value}.')
        self.num_distractors = num_distractors
        self.distractor_size = distractor_size
        self.affine = affine
        self.elastic = elastic
        super().__init__(
            data_root=data_root,
            split=split,
            canvas_size=canvas_size,
            seed=seed,
            regenerate=regenerate,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Read the digits and list, for each, its place in the split and its label."""
        self._digits, labels = self._read_digits()
        self._warped = -1, self._digits
        return [dict(digit=digit, gt_label=label) for digit, label in enumerate(labels.tolist())]

    def _render(self, info: dict) -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
        digit, digits = info['digit'], self._digits_now()
        rng = self._generator(digit)
        size = self.distractor_size
        crop_ends, place_ends = DIGIT_SIZE - size + 1, self.canvas_size - size + 1
        draws = rng.integers(
            0,
            (len(digits), crop_ends, crop_ends, place_ends, place_ends),
            size=(self.num_distractors, 5),
        ).tolist()
        digit_end = self.canvas_size - DIGIT_SIZE + 1
        top, left = rng.integers(0, digit_end, size=2).tolist()

        canvas = np.zeros((self.canvas_size, self.canvas_size), np.uint16)
        for source, crop_y, crop_x, y, x in draws:
            canvas[y : y + size, x : x + size] += digits[
                source, crop_y : crop_y + size, crop_x : crop_x + size
            ]
        np.minimum(canvas, 255, out=canvas)
        canvas[top : top + DIGIT_SIZE, left : left + DIGIT_SIZE] += digits[digit]
        return np.minimum(canvas, 255).astype(np.uint8), [box_at(top, left)]

    def _digits_now(self) -> np.ndarray:
        """Return this epoch's digits, warped if asked for; each worker keeps its own copy."""
        if not (self.affine or self.elastic):
            return self._digits
        epoch = self._drawn_in()
        if self._warped[0] != epoch:
            rng = self._generator(len(self._digits))  # an index that no image has
            digits = self._digits.copy()
            for index in np.flatnonzero(rng.random(len(digits)) < 0.5):
                digits[index] = warp(digits[index], self.affine, self.elastic, rng)
            self._warped = epoch, digits
        return self._warped[1]


def warp(digit: np.ndarray, affine: float, elastic: float, rng: np.random.Generator) -> np.ndarray:
    """Warp a digit at random about its middle, with linear interpolation and black outside.

    Args:
        digit: (28, 28) uint8.
        affine: See :class:`ClutteredMNIST`.
        elastic: See :class:`ClutteredMNIST`.
        rng: Generator that draws the warp.

    Returns:
        np.ndarray: (28, 28) uint8.
    """
    matrix = np.eye(2) + rng.uniform(-affine, affine, (2, 2))
    sources = (_FROM_MIDDLE @ matrix + (DIGIT_SIZE - 1) / 2).astype(np.float32)
    if elastic:
        # Displacements are independent at a few places and interpolated by cubics in between.
        moves = rng.normal(0, elastic, (ELASTIC_GRID, ELASTIC_GRID, 2)).astype(np.float32)
        sources += cv2.resize(moves, digit.shape, interpolation=cv2.INTER_CUBIC)
    no_map: Any = None  # sources holds both coordinates
    return cv2.remap(digit, sources, no_map, interpolation=cv2.INTER_LINEAR)
