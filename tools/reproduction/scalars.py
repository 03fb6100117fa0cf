"""Read the logs of training runs."""

import json
from pathlib import Path


def logs_of(run: Path) -> list[Path]:
    """Return the scalar logs in a run's work dir, one per start, the oldest first.

    Args:
        run: A work dir, or the dated folder of one start inside of it.

    Raises:
        ValueError: There are no logs.
    """
    found = sorted(Path(run).glob('vis_data/scalars.json')) or sorted(
        Path(run).glob('*/vis_data/scalars.json')
    )
    if not found:
        raise ValueError(
            f'{run} is not a run with logs (no vis_data/scalars.json in it); '
            'name the --work-dir of a training.'
        )
    return found


def read_scalars(run: Path, key: str) -> dict[int, float]:
    """Return iteration -> value, ascending; of repeated iterations, the last value counts.

    Args:
        run: As in :func:`logs_of`.
        key: Name of the scalar, such as ``'loss'``.

    Raises:
        ValueError: The run did not log it.
    """
    values: dict[int, float] = {}
    for path in logs_of(run):
        entries = [entry for entry in map(_parse, path.read_text().splitlines()) if key in entry]
        if entries:
            start = entries[0]['step']
            values = {step: value for step, value in values.items() if step < start}
        values.update((entry['step'], entry[key]) for entry in entries)
    if not values:
        raise ValueError(f'The run {run} logged no {key}.')
    return values


def _parse(line: str) -> dict:
    """Parse a line of a log; return {} if it is cut, as the last line of a killed run can be."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return {}
