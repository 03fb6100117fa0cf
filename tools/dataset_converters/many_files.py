"""Make many files in several processes, with a progress bar."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Made = TypeVar('Made')

# Messages are neither wrapped nor searched for markup, which a path could contain.
console = Console(stderr=True, soft_wrap=True)
say = partial(console.print, markup=False, highlight=False)


def make_many(
    make: Callable[[int], Made],
    count: int,
    *,
    name: str,
    workers: int,
    chunk: int = 1,
    start: Callable[[], object] | None = None,
) -> list[Made]:
    """Call ``make(0)`` to ``make(count - 1)`` and return the results in this order.

    Args:
        make: Makes a file. With several processes it must pickle.
        count: Number of files.
        name: What the progress bar calls them.
        workers: Number of processes.
        chunk: Files that a process makes at a time.
        start: Prepares each process, if there are several.
    """
    if workers == 1:
        return list(_progress(map(make, range(count)), name, count))
    with _interrupts_held() as interrupts:
        pool = ProcessPoolExecutor(
            min(workers, -(-count // chunk)), initializer=_start_worker, initargs=(start,)
        )
        try:
            # The processes start before the progress bar's thread.
            results = pool.map(make, range(count), chunksize=chunk)
            made = []
            for result in _progress(results, name, count):
                made.append(result)
                if interrupts:
                    raise KeyboardInterrupt
            return made
        finally:
            pool.shutdown(cancel_futures=True)


def _progress(results: Iterator[Made], name: str, count: int) -> Iterator[Made]:
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(name, total=count)
        for result in results:
            bar.advance(task)
            yield result


@contextmanager
def _interrupts_held() -> Iterator[list[int]]:
    """Collect interrupts, because one inside of a lock of the pool or the bar could hang both."""
    interrupts: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)


def _start_worker(start: Callable[[], object] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends the workers
    if start is not None:
        start()
