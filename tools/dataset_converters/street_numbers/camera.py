"""Turn a painted street into a photograph: light, shade, blur, noise and compression."""

import cv2
import numpy as np

from .noise import Size, blend, smooth_noise

_DARKEST_SHADE = 0.5  # light that the darkest cast shadow leaves
_MOST_BLUR = 0.04  # deviation of the blur / a digit's height
_MOST_NOISE = 9.0  # deviation, where white is 255
_LEGIBLE = 13.0  # pixels per digit height that a coarse sensor keeps at least


def photograph(
    rng: np.random.Generator, image: np.ndarray, height: float, wear: float
) -> np.ndarray:
    """Turn a painted street into a photograph.

    Args:
        rng: Source of every choice.
        image: (H, W, 3) float32, RGB from 0 to 255. It is changed.
        height: Height of a digit in pixels; the blur is relative to it.
        wear: How bad the photographs are; 1 is like SVHN.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    _light(rng, image, wear)
    image = _blur(rng, image, height, wear)
    sigma = rng.uniform(0.5, _MOST_NOISE * wear)
    grain = 1.0 if rng.random() < 0.6 else rng.uniform(1, 2)
    shades = smooth_noise(rng, image.shape[:2], (grain, grain)) * sigma
    image += shades[..., None]
    image = np.clip(image, 0, 255, out=image).astype(np.uint8)
    if rng.random() < 0.6:
        image = _compress(rng, image, wear)
    return image


def _light(rng: np.random.Generator, image: np.ndarray, wear: float) -> None:
    """Apply exposure, colour of the light, a brightness gradient and a cast shadow, in place."""
    height, width = image.shape[:2]
    slope = rng.normal(0, 0.14, 2) * wear
    rows = np.linspace(-slope[0], slope[0], height, dtype=np.float32)
    columns = np.linspace(-slope[1], slope[1], width, dtype=np.float32)
    light = rng.uniform(0.65, 1.1) + rows[:, None] + columns
    np.clip(light, 0.45, 1.4, out=light)
    if rng.random() < 0.25:
        light *= _cast_shadow(rng, (height, width), wear)
    tint = (1 + rng.normal(0, 0.05, 3)).astype(np.float32)
    image *= light[..., None] * tint
    if rng.random() < 0.3:  # haze
        blend(
            image,
            np.full((1, 1), rng.uniform(0.05, 0.3), np.float32),
            np.full(3, rng.uniform(100, 200), np.float32),
        )


def _cast_shadow(rng: np.random.Generator, size: Size, wear: float) -> np.ndarray:
    """Return the light that remains in the shadow of a neighbour's roof."""
    height, width = size
    edge = rng.uniform(0, 1, (2, 2)) * (width, height)
    turn = edge[1] - edge[0]
    normal = np.array([-turn[1], turn[0]]) / (np.hypot(*turn) + 1e-6)
    away = (
        np.arange(height, dtype=np.float32)[:, None] * normal[1]
        + np.arange(width, dtype=np.float32) * normal[0]
        - normal @ edge[0]
    )
    softness = rng.uniform(0.5, 4)
    lit = np.clip(away / softness + 0.5, 0, 1)
    darkest = 1 - rng.uniform(0.2, 1 - _DARKEST_SHADE) * wear
    return (darkest + (1 - darkest) * lit).astype(np.float32)


def _blur(rng: np.random.Generator, image: np.ndarray, height: float, wear: float) -> np.ndarray:
    """Blur an image: out of focus, shaken, or taken by a coarse sensor and enlarged."""
    sigma = rng.uniform(0, _MOST_BLUR * wear) * height
    if sigma > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    kind = rng.random()
    if kind < 0.2:
        coarse = min(1.0, max(_LEGIBLE / height, rng.uniform(0.4, 0.9)))
        size = [max(8, round(length * coarse)) for length in image.shape[1::-1]]
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    elif kind < 0.3:
        length = max(1, round(rng.uniform(0, 0.1 * wear) * height))
        shape = (1, length) if rng.random() < 0.7 else (length, 1)
        image = cv2.blur(image, shape[::-1])
    return image


def _compress(rng: np.random.Generator, image: np.ndarray, wear: float) -> np.ndarray:
    quality = int(rng.uniform(95 - 55 * wear, 96))
    _, code = cv2.imencode('.jpg', image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
    return np.ascontiguousarray(cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1])
