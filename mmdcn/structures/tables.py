"""Caches small tensors that depend on sizes alone, unless torch traces."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode

MOST_KEPT = 64


def jit_traces() -> bool:
    """Return whether ``torch.jit.trace`` runs; sizes are tensors then."""
    return torch.jit.is_tracing()  # type: ignore[attr-defined]


def made_once(make: Callable[..., Any]) -> Callable[..., Any]:
    """Cache the results of a function for later calls with the same arguments.

    The results are never inference tensors, so training can use them too. Nothing is kept while
    torch traces, because the results may then have no values.

    Args:
        make: The function. Its arguments must be hashable and positional.
    """

    @lru_cache(maxsize=MOST_KEPT)
    def kept(*args: Any) -> Any:
        with torch.inference_mode(False):
            return make(*args)

    @wraps(make)
    def get(*args: Any) -> Any:
        traced = torch.compiler.is_compiling() or jit_traces()
        if traced or _get_current_dispatch_mode() is not None:
            return make(*args)
        return kept(*args)

    return get
