"""Megapixel MNIST: five digits on a large canvas."""

import math
from typing import Any, NamedTuple

import numpy as np

from mmdcn.registry import DATASETS

from .mnist_canvas import DIGIT_SIZE, SPLITS, MNISTCanvas, box_at

NUM_DIGITS = 5
NUM_PATTERNS = 50
STEEPEST = np.pi / 2.5  # largest angle of a line
MIRRORED = 0.44  # share of second lines that are mirrored
DIMMEST = 0.8  # lowest brightness of a line's pixel, as a share of white
IMAGES = {'train': 5000, 'val': 1000, 'trainval': 5000, 'test': 1000}


class Piece(NamedTuple):
    """A digit or a piece of noise, and where its top left corner lies on the canvas."""

    pixels: np.ndarray  # (28, 28) uint8
    top: int
    left: int


@DATASETS.register_module()
class MegapixelMNIST(MNISTCanvas):
    """Five MNIST digits on a large black canvas with noise; the label is their majority.

    This is the dataset of Attention Sampling (Katharopoulos and Fleuret, ICML 2019) and the task
    'majority' of Iterative Patch Selection (Bergner et al., ICLR 2023). Three digits have the
    label. Two have other labels, which may be equal. Digits lie anywhere and do not overlap. Each
    piece of noise is one of 50 patterns: two lines, one pixel wide, within 28×28 pixels. Its top
    left corner is at least 28 pixels away from all borders. Later pieces of noise cover earlier
    ones, and digits cover noise, so all digits can be read. This follows Iterative Patch
    Selection; in Attention Sampling, noise covers digits.

    Images are made on demand and depend on (seed, split, index) alone, not on the worker or the
    order. (seed, split) fixes the labels and the patterns of the noise, so each split has its own.
    ``'train'`` and ``'trainval'`` have 5,000 images, ``'val'`` and ``'test'`` have 1,000.

    A sample has ``img`` (H, W) uint8, ``gt_label`` and ``gt_bboxes``, an (n, 4) float32 array
    with the (x1, y1, x2, y2) of all digits' 28×28 windows, those of the label first.

    Args:
        data_root: Folder of the unpacked idx files that
            ``tools/dataset_converters/prepare_mnist.py`` makes.
        split: Source of the digits: ``'train'`` (the first 55,000), ``'val'`` (the last 5,000 of
            the training file), ``'trainval'`` (both) or ``'test'``.
        canvas_size: Height and width of the image, in pixels.
        num_noise: Pieces of noise per image.
        num_digits: Digits per image, an odd number. More than half have the label.
        seed: Chooses labels, digits, places and noise.
        regenerate: Draw new digits, places and noise for each image in each epoch; its label and
            the 50 patterns stay. This is an augmentation and not the papers' protocol. It needs
            ``SetEpochHook`` (in the default runtime) or calls of :meth:`set_epoch`.
        **kwargs: ``pipeline``, ``indices`` and the other options of MMPretrain's
            ``BaseDataset``.

    Raises:
        FileNotFoundError: An idx file is missing.
        ValueError: A file is cut or is not an idx file of MNIST's size, a label is not a digit, or
            an option is out of range.
    """

    def __init__(
        self,
        *,
        data_root: str,
        split: str = 'train',
        canvas_size: int = 1500,
        num_noise: int = 50,
        num_digits: int = NUM_DIGITS,
        seed: int = 0,
        regenerate: bool = False,
        **kwargs: Any,
    ) -> None:
        if num_noise < 0:
            raise self._refusal('num_noise', f'must be at least 0, got {num_noise}.')
        if num_digits < 1 or num_digits % 2 == 0:
            raise self._refusal('num_digits', f'must be 1, 3, 5 or so on, got {num_digits}.')
        self.num_noise = num_noise
        self.num_digits = num_digits
        # On a grid of 28-pixel windows a digit touches at most four, so the last digit has room in
        # one of 4n - 3. A piece of noise needs 3×3.
        windows = max(3, math.ceil(math.sqrt(4 * num_digits - 3)))
        self.least_canvas = windows * DIGIT_SIZE
        self.must_hold = f'{num_digits} digits however the others lie'
        super().__init__(
            data_root=data_root,
            split=split,
            canvas_size=canvas_size,
            seed=seed,
            regenerate=regenerate,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Read the digits, draw labels and patterns, and list each image's number and label."""
        self._digits, labels = self._read_digits()
        self._by_label = np.argsort(labels, kind='stable')
        self._label_ends = np.searchsorted(labels[self._by_label], np.arange(11))
        stream = SPLITS[self.split].stream
        # An image's seed has four numbers; this seed has five, so its random numbers are different.
        self._patterns = crossed_lines(
            np.random.default_rng((self.seed, stream, 0, 0, 1)), NUM_PATTERNS
        )
        drawn = np.random.default_rng((self.seed, stream, 0, 0, 2)).integers(
            10, size=IMAGES[self.split]
        )
        return [dict(sample=sample, gt_label=label) for sample, label in enumerate(drawn.tolist())]

    def draw(
        self,
        rng: np.random.Generator,
        label: int,
        *,
        canvas: tuple[int, int],
        num_noise: int,
        size: int = DIGIT_SIZE,
    ) -> tuple[list[Piece], list[Piece]]:
        """Draw what lies on a canvas.

        Args:
            rng: Source of everything random.
            label: The majority's.
            canvas: Height and width of the canvas, in pixels.
            num_noise: Pieces of noise.
            size: Height and width that a piece takes on the canvas, in pixels. Whoever pastes it
                enlarges its 28×28 pixels to that.

        Returns:
            tuple: The pieces of noise, and the digits, those of the label first.
        """
        digits = self._draw_digits(rng, label)
        places = _draw_places(rng, canvas, size, self.num_digits)
        height, width = canvas
        noise = rng.integers(
            (0, size, size), (NUM_PATTERNS, height - size, width - size), size=(num_noise, 3)
        ).tolist()
        return (
            [Piece(self._patterns[pattern], top, left) for pattern, top, left in noise],
            [
                Piece(self._digits[digit], top, left)
                for digit, (top, left) in zip(digits, places, strict=True)
            ],
        )

    def _render(self, info: dict) -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
        noise, digits = self.draw(
            self._generator(info['sample']),
            info['gt_label'],
            canvas=(self.canvas_size, self.canvas_size),
            num_noise=self.num_noise,
        )
        canvas = np.zeros((self.canvas_size, self.canvas_size), np.uint8)
        for pixels, top, left in (*noise, *digits):
            canvas[top : top + DIGIT_SIZE, left : left + DIGIT_SIZE] = pixels
        return canvas, [box_at(top, left) for _, top, left in digits]

    def _draw_digits(self, rng: np.random.Generator, label: int) -> np.ndarray:
        """Draw more than half of the digits of the label, then others, as places in the split."""
        majority = self.num_digits // 2 + 1
        start, end = self._label_ends[label : label + 2]
        same = rng.integers(start, end, size=majority)
        others = rng.integers(len(self._digits) - (end - start), size=self.num_digits - majority)
        others[others >= start] += end - start
        return self._by_label[np.concatenate((same, others))]


def _draw_places(
    rng: np.random.Generator, canvas: tuple[int, int], size: int, number: int
) -> list[tuple[int, int]]:
    """Draw the digits' (top, left), and draw each again until it overlaps no earlier digit."""
    height, width = canvas
    places: list[tuple[int, int]] = []
    while len(places) < number:
        top, left = rng.integers((height - size + 1, width - size + 1)).tolist()
        if all(max(abs(top - y), abs(left - x)) >= size for y, x in places):
            places.append((top, left))
    return places


def crossed_lines(rng: np.random.Generator, number: int) -> np.ndarray:
    """Draw the patterns of the noise, (number, 28, 28) uint8.

    A line runs from the first corner to the opposite side, at 0 to 72 degrees from the vertical. A
    pattern has two such lines; the second is mirrored left to right with probability 0.44. Each
    pixel has 0.8 to 1 times the full brightness.
    """
    angles = rng.random((number, 1)) * STEEPEST
    directions = np.cos(angles), np.sin(angles)
    steps = np.linspace(0, DIGIT_SIZE - 0.51, 2 * DIGIT_SIZE) / np.maximum(*directions)
    rows, columns = (np.rint(steps * direction).astype(int) for direction in directions)
    lines = np.zeros((number, DIGIT_SIZE, DIGIT_SIZE), bool)
    lines[np.arange(number)[:, None], rows, columns] = True
    others = rng.permutation(lines)
    mirrored = rng.random(number) < MIRRORED
    others[mirrored] = others[mirrored, :, ::-1]
    brightness = DIMMEST + (1 - DIMMEST) * rng.random(lines.shape)
    return ((lines | others) * brightness * 255).astype(np.uint8)
