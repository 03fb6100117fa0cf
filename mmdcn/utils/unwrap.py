"""Look inside of dataset wrappers."""

from collections.abc import Iterator
from typing import Any


def unwrap(dataset: Any) -> Iterator[Any]:
    """Yield a dataset and all that it wraps, as MMEngine's wrappers do; nothing for None."""
    if dataset is None:
        return
    yield dataset
    for part in [own(dataset, 'dataset'), *(own(dataset, 'datasets') or [])]:
        yield from unwrap(part)


def own(dataset: Any, name: str) -> Any:
    """Return an attribute of the object itself, or None; a mock would have any by `getattr`."""
    return getattr(dataset, '__dict__', {}).get(name)
