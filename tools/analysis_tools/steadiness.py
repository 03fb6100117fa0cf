"""Tell from times whether the machine was busy."""

import numpy as np

# Largest 90th percentile / 10th percentile of times to rely on. On an idle machine, the models and
# batches of docs/costs.md had at most 1.4.
STEADY = 1.5


def variation(seconds: np.ndarray) -> float:
    """Return the 90th percentile of the times / the 10th percentile."""
    low, high = np.percentile(seconds, (10, 90))
    return high / low


def busy(what: str, seconds: np.ndarray) -> str:
    """Say that these times vary more than on an idle machine; return '' if they do not."""
    found = variation(seconds)
    if found <= STEADY:
        return ''
    return (
        f'The machine is busy: times of {what} vary by a factor of {found:.1f} between the 10th '
        f'and the 90th percentile (more than {STEADY}), so do not rely on these times; run it '
        'again on an idle machine.'
    )
