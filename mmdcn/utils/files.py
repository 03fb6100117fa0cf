"""Write files completely or not at all."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of disks, quotas and limits of a file's size


@contextmanager
def replacing(path: str | PathLike) -> Iterator[Path]:
    """Yield a temporary path, whose file replaces ``path`` if the block ends without an error.

    If the block fails, the temporary file is removed, and a file at ``path`` stays as it was. A
    missing folder is created.

    Args:
        path: The file to write.

    Yields:
        Path: The temporary path, beside ``path`` and with the same suffix.

    Raises:
        OSError: The file cannot be written there.
    """
    path = Path(path)
    unfinished = _beside(path)
    try:
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise OSError(
            f'{path} cannot be written ({error.strerror}): make room, or name another place.'
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def check_writable(path: str | PathLike) -> None:
    """Raise an error now if :func:`replacing` could not write a file.

    A missing folder is created, and a file at ``path`` stays as it is.

    Args:
        path: The file that is to be written later.

    Raises:
        OSError: The file cannot be written there.
    """
    unfinished = _beside(Path(path))
    try:
        unfinished.touch()
    finally:
        unfinished.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """Return a temporary path beside ``path``, whose folder is created."""
    if path.is_dir():
        raise IsADirectoryError(f'{path} cannot be written, because it is a folder.')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(
            f'{path} cannot be written, because {path.parent} is not a folder.'
        ) from error
    writer = f'{os.getpid()}-{threading.get_ident()}'
    return path.with_name(f'{path.stem}.{writer}.unfinished{path.suffix}')
