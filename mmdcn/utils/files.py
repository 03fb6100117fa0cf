"""Write files completely or not at all."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path


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
    if path.is_dir():
        raise IsADirectoryError(f'{path} cannot be written, because it is a folder.')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(
            f'{path} cannot be written, because {path.parent} is not a folder.'
        ) from error
    writer = f'{os.getpid()}-{threading.get_ident()}'
    unfinished = path.with_name(f'{path.stem}.{writer}.unfinished{path.suffix}')
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
