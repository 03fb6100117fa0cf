"""What training runs logged."""

import json
from pathlib import Path


def logs_of(run: Path) -> list[Path]:
    """The logs of scalars in a run's work dir, one a start, the oldest first.

    Args:
        run: A work dir, or the dated folder of one start in it.

    Raises:
        ValueError: There are none.
    """
    found = sorted(Path(run).glob('vis_data/scalars.json')) or sorted(
        Path(run).glob('*/vis_data/scalars.json')
    )
    if not found:
        raise ValueError(
            f'{run} is no run that logged anything (no vis_data/scalars.json in it); '
            'name the --work-dir of a training.'
        )
    return found


def read_scalars(run: Path, key: str) -> dict[int, float]:
    """Iteration -> value, ascending. What a resumed run did again counts once, as done last.

    Args:
        run: As in :func:`logs_of`.
        key: Such as ``'loss'``.

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
    """A line of a log; the last one of a run that goes on or was killed can be cut."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return {}
