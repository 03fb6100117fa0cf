"""Images and files that the tests of sources read."""

from pathlib import Path

import numpy as np
import tifffile
import torch

from mmdcn.structures import shrink


def noise(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def smooth(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Slow waves, which a lossy format changes little and a pyramid keeps."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(y / (21 + 4 * c) + c) * np.cos(x / (17 + 3 * c)) for c in range(channels)]
    return (127 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


def window(image: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """Pixels of an image, zero outside of it, from a padded copy."""
    far = max(map(abs, (top, left, height, width))) + max(image.shape[:2])
    padded = np.pad(image, ((far, far), (far, far), (0, 0)))
    return padded[top + far : top + far + height, left + far : left + far + width]


def shrunk(image: np.ndarray, scale: float) -> np.ndarray:
    """All pixels, shrunk in memory."""
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return shrink(planes[None], scale)[0].permute(1, 2, 0).float().numpy()


def block_means(image: np.ndarray, size: int) -> np.ndarray:
    """A level of a pyramid, rounded down as by repeated halving."""
    height, width = (length // size * size for length in image.shape[:2])
    blocks = image[:height, :width].reshape(height // size, size, width // size, size, -1)
    return blocks.mean(axis=(1, 3)).round().astype(image.dtype)


def write_pyramid(path: Path, image: np.ndarray, *levels: np.ndarray, **options) -> Path:
    """Write levels as pages that are marked as reduced."""
    options = dict(tile=(32, 48), metadata=None, **options)
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(image, **options)
        for level in levels:
            tiff.write(level, subfiletype=1, **options)
    return path


WINDOWS = [
    (0, 0, 5, 7),
    (40, 33, 50, 90),
    (-9, -4, 30, 20),
    (95, 100, 60, 70),
    (-5, -6, 300, 300),
    (500, 3, 4, 4),
    (-60, 10, 20, 20),
    (31, 47, 1, 2),
]
