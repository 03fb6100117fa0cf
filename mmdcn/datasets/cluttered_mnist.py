import math

import cv2
import numpy as np

from mmdcn.registry import DATASETS

from .mnist_canvas import DIGIT_SIZE, MNISTCanvas, box_at

ELASTIC_GRID = 6  # displacements along a side of a digit
# (28, 28, 2), the (x, y) of each pixel from the digit's middle.
_FROM_MIDDLE = np.mgrid[:DIGIT_SIZE, :DIGIT_SIZE][::-1].transpose(1, 2, 0) - (DIGIT_SIZE - 1) / 2


@DATASETS.register_module()
class ClutteredMNIST(MNISTCanvas):
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
        affine: Warp half of the digits, drawn at random, by the identity plus a 2×2 matrix of
            uniform numbers of at most so much; 0.15 turns, scales and shears by up to about 9° or
            15 %. Fragments come from warped digits alike: that a warp blurs must not tell a
            digit from clutter.
        elastic: Warp these by a smooth displacement of this standard deviation, in pixels, as
            well, after Simard et al. (ICDAR 2003). Both are augmentations for ``regenerate``.
        **kwargs: ``pipeline``, ``indices`` and whatever else MMPretrain's ``BaseDataset``
            takes.

    Raises:
        FileNotFoundError: An idx file is missing.
        ValueError: A file is cut or no idx file of MNIST's size, a label is not a digit, or an
            option is out of range.
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
        **kwargs,
    ):
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
        """Read the digits; an entry is a digit's place in the split and its label."""
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
        """The digits as they are in this epoch, warped where wanted; each worker keeps them."""
        if not (self.affine or self.elastic):
            return self._digits
        epoch = self._drawn_in()
        if self._warped[0] != epoch:
            rng = self._generator(len(self._digits))  # the number of no image
            digits = self._digits.copy()
            for index in np.flatnonzero(rng.random(len(digits)) < 0.5):
                digits[index] = warp(digits[index], self.affine, self.elastic, rng)
            self._warped = epoch, digits
        return self._warped[1]


def warp(digit: np.ndarray, affine: float, elastic: float, rng: np.random.Generator) -> np.ndarray:
    """Warp a digit at random about its middle, linear between pixels and black outside.

    Args:
        digit: (28, 28) uint8.
        affine: See :class:`ClutteredMNIST`.
        elastic: See :class:`ClutteredMNIST`.

    Returns:
        np.ndarray: (28, 28) uint8.
    """
    matrix = np.eye(2) + rng.uniform(-affine, affine, (2, 2))
    sources = (_FROM_MIDDLE @ matrix + (DIGIT_SIZE - 1) / 2).astype(np.float32)
    if elastic:
        # Independent at a few places, cubic in between.
        moves = rng.normal(0, elastic, (ELASTIC_GRID, ELASTIC_GRID, 2)).astype(np.float32)
        sources += cv2.resize(moves, digit.shape, interpolation=cv2.INTER_CUBIC)
    return cv2.remap(digit, sources, None, interpolation=cv2.INTER_LINEAR)
