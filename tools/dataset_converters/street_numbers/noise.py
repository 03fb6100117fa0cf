"""Random fields and colours for all painters. Colours are RGB from 0 to 255."""

from collections.abc import Sequence

import cv2
import numpy as np

Size = tuple[int, int]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def smooth_noise(rng: np.random.Generator, size: Size, cell: tuple[float, float]) -> np.ndarray:
    """Draw a field of smooth random values, (H, W) float32, with deviation about 1.

    Args:
        rng: Source of the values.
        size: Height and width.
        cell: Height and width of a bump, in pixels.
    """
    coarse = [
        max(2, int(np.ceil(length / step)) + 1) for length, step in zip(size, cell, strict=True)
    ]
    values = rng.standard_normal(coarse, np.float32)
    return cv2.resize(values, size[::-1], interpolation=cv2.INTER_CUBIC)


def near(rng: np.random.Generator, colour: Sequence[float], spread: float) -> np.ndarray:
    """Draw a colour near another: brightness varies by ``spread``, channels by a third of it."""
    shift = rng.normal(0, spread) + rng.normal(0, spread / 3, 3)
    return np.clip(np.asarray(colour) + shift, 0, 255).astype(np.float32)


def luma(colours: np.ndarray) -> np.ndarray:
    """Return the brightness of colours (..., 3)."""
    return colours @ LUMA


def blend(image: np.ndarray, alpha: np.ndarray, paint: np.ndarray) -> None:
    """Blend ``paint`` (a colour or an (H, W, 3) image) over ``image``, in place.

    Args:
        image: (H, W, 3) float32.
        alpha: (H, W) float32 in [0, 1].
        paint: (3, ) or (H, W, 3) float32.
    """
    image += alpha[..., None] * (paint - image)
