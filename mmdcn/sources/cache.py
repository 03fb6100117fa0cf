"""Keep overviews in files."""

import hashlib
import logging
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.logging import print_log

from mmdcn.utils.files import replacing

_VERSION = 1  # of how overviews are made; another one makes files of before invalid
_said = False


class Stamp(NamedTuple):
    """Tells one state of a file from another.

    Attributes:
        size: Bytes.
        modified: Time of the last change in nanoseconds.
    """

    size: int
    modified: int


def cache_file(path: str, scale: float, cache: str | bool) -> Path:
    """Name the file that keeps an overview.

    Args:
        path: The image.
        scale: The overview's scale.
        cache: A folder, or True for the image's own folder.
    """
    image = Path(path)
    if isinstance(cache, bool):
        return image.with_name(f'{image.name}.{scale}.overview')
    place = hashlib.sha1(os.fsencode(image.absolute()), usedforsecurity=False).hexdigest()[:16]
    return Path(cache) / f'{image.name}.{place}.{scale}.overview'


def load_overview(file: Path, stamp: Stamp, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return a kept overview, or None if there is none of this state of the image.

    Args:
        file: The file, see ``cache_file``.
        stamp: The state of the image.
        shape: (height, width, channels) of the overview.
    """
    try:
        with open(file, 'rb') as kept:
            overview = np.load(kept, allow_pickle=False)
            mark = np.load(kept, allow_pickle=False)
    except Exception:  # NumPy raises many types of error on broken bytes.
        return None
    fits = overview.shape == shape and overview.dtype == np.float32
    if not fits or not np.array_equal(mark, (_VERSION, *stamp)):
        return None
    return np.ascontiguousarray(overview)


def save_overview(file: Path, stamp: Stamp, overview: np.ndarray) -> None:
    """Keep an overview. If this fails, the log says so once and no file is left.

    Args:
        file: The file, see ``cache_file``.
        stamp: The state of the image.
        overview: (height, width, channels) float32.
    """
    global _said
    try:
        with replacing(file) as unfinished, open(unfinished, 'wb') as kept:
            np.save(kept, overview)
            np.save(kept, np.array((_VERSION, *stamp), np.int64))
    except OSError as error:
        if not _said:
            _said = True
            print_log(
                f'Overviews cannot be kept in {file.parent} ({error}), so each is computed anew: '
                'make room there or pass another folder as cache.',
                logger='current',
                level=logging.WARNING,
            )
