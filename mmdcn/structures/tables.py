"""Small tensors that depend on sizes alone: caches, unless torch traces, and lookups."""

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


def looked_up(
    compute: Callable[..., torch.Tensor], index: torch.Tensor, number: int, *sizes: Any
) -> torch.Tensor:
    """Return ``compute(index, *sizes)``, by one lookup in a table where this is faster.

    In an exported graph the table depends on the image size alone, so a runtime that knows the size
    computes it once. A compiler joins the operators of the function itself, without a table.

    Args:
        compute: Computes a row for each index, (P,) int64 -> (P, ...). It must be hashable.
        index: (P,) int64, from 0 to ``number`` − 1.
        number: Rows of the table.
        *sizes: Other arguments of the function, hashable.
    """
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        return compute(index, *sizes)
    return _table(compute, number, index.device, *sizes).index_select(0, index)


@made_once
def _table(
    compute: Callable[..., torch.Tensor], number: int, device: torch.device, *sizes: Any
) -> torch.Tensor:
    return compute(torch.arange(number, device=device), *sizes)
