"""Images in NumPy's files."""

import numpy as np

from .pyramid import Level
from .source import FileSource, Reader

_ROWS = 64  # that are read at a time


class ArraySource(FileSource):
    """Reads .npy files of (H, W) or (H, W, C) uint8 or uint16, mapped into memory.

    The channels stay in the file's order.
    """

    def open(self) -> Reader:
        """Open the file and check that it can be read."""
        return _ArrayReader(self.path)


class _ArrayReader:
    def __init__(self, path: str) -> None:
        try:
            array = np.load(path, mmap_mode='r', allow_pickle=False)
        # NumPy raises many types of error on broken bytes.
        except Exception as error:
            raise ValueError(
                f'The array {path} is cut or is no .npy file ({error}): copy it again.'
            ) from error
        if array.ndim not in (2, 3) or array.size == 0:
            given = '×'.join(map(str, array.shape)) or 'a scalar'
            raise ValueError(
                f'The array {path} must be one image of (H, W) or (H, W, C), got {given}: save '
                'each image by itself.'
            )
        if array.dtype.kind != 'u' or array.dtype.itemsize > 2:
            raise ValueError(
                f'The array {path} must hold uint8 or uint16, got {array.dtype}: scale its values '
                'and save it again.'
            )
        self.array = array if array.ndim == 3 else array[..., None]
        self.levels = [Level(self.array.shape[:2], (1.0, 1.0), _ROWS)]
        self.channels = self.array.shape[2]
        self.dtype = array.dtype.newbyteorder('=')

    def read(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        return self.array[top : top + height, left : left + width]
