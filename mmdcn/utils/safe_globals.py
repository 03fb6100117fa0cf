"""Lets torch read the objects beside tensors in MMEngine's checkpoints."""

from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer


def register_safe_globals() -> None:
    """Let ``torch.load(weights_only=True)`` read MMEngine's checkpoints.

    Since torch 2.6, this check is on by default. It refuses the log history that MMEngine stores in
    a checkpoint: ``HistoryBuffer`` objects, which hold numpy arrays and references to their own
    statistics. Only these are declared safe; the check itself stays on.
    """
    reconstruct: Any = np.empty(0).__reduce__()[0]
    scalar: Any = np.float64(0).__reduce__()[0]
    arrays: list[Any] = [
        (function, f'{module}.{function.__name__}')
        for function in (reconstruct, scalar)
        for module in ('numpy.core.multiarray', 'numpy._core.multiarray')
    ]  # numpy 1, 2
    dtypes = {type(np.dtype(code)) for code in ('f4', 'f8', 'i4', 'i8')}
    torch.serialization.add_safe_globals(
        [HistoryBuffer, np.ndarray, np.dtype, *arrays, *dtypes, (_statistic, 'builtins.getattr')]
    )


def _statistic(owner: type, name: str) -> Any:
    """Replace ``getattr``, which pickle uses for methods such as ``HistoryBuffer.mean``.

    Raises:
        ValueError: The checkpoint asks for any other attribute.
    """
    if owner is not HistoryBuffer or name.startswith('_'):
        raise ValueError(
            f'The checkpoint asks for {owner!r}.{name}, which is not a statistic of '
            "MMEngine's log history; it is refused."
        )
    return getattr(owner, name)
