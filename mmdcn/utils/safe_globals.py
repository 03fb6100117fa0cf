"""What an MMEngine checkpoint holds beside tensors."""

import numpy as np
import torch
from mmengine.logging import HistoryBuffer


def register_safe_globals() -> None:
    """Let ``torch.load(weights_only=True)`` read MMEngine's checkpoints.

    Since torch 2.6 that check is on by default and refuses the log history that MMEngine
    stores in a checkpoint: ``HistoryBuffer`` objects, which hold numpy arrays and references
    to their own statistics. Just these are declared safe; the check itself stays on.
    """
    reconstruct = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    arrays = [
        (function, f'{module}.{function.__name__}')
        for function in (reconstruct, scalar)
        for module in ('numpy.core.multiarray', 'numpy._core.multiarray')
    ]  # numpy 1, 2
    dtypes = {type(np.dtype(code)) for code in ('f4', 'f8', 'i4', 'i8')}
    torch.serialization.add_safe_globals(
        [HistoryBuffer, np.ndarray, np.dtype, *arrays, *dtypes, (_statistic, 'builtins.getattr')]
    )


def _statistic(owner: type, name: str):
    """Stands in for ``getattr``, by which pickle names ``HistoryBuffer.mean`` and its like.

    Raises:
        ValueError: Anything else is asked for.
    """
    if owner is not HistoryBuffer or name.startswith('_'):
        raise ValueError(
            f'The checkpoint asks for {owner!r}.{name}, which is not a statistic of '
            "MMEngine's log history; it is refused."
        )
    return getattr(owner, name)
