"""Output of the tools: names of models, tables and figures."""

import json
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from mmdcn.utils.files import replacing


def names_of(configs: Sequence[Path]) -> list[str]:
    """Shorten configs' names for a table.

    ``dcn-k8_1xb128-60e_cluttered-mnist.py`` becomes ``dcn-k8``. If two short names were equal, all
    names stay whole.
    """
    short = [path.stem.split('_')[0] for path in configs]
    return short if len(set(short)) == len(short) else [path.stem for path in configs]


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of cells; the first column is aligned left, the others right."""
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify='right' if index else 'left', no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console()
    # Use the full width, so that no figure is cut in a narrow terminal or a pipe.
    whole = Measurement.get(console, console.options.update(width=10**4), table).maximum
    console.width = max(console.width, whole)
    console.print(table)


def spread(percentiles: Sequence[float] | np.ndarray) -> str:
    """Return the 10th, 50th and 90th percentiles as text, such as ``1.25 (1.20–1.41)``."""
    low, median, high = percentiles
    return f'{median:.2f} ({low:.2f}–{high:.2f})'


def write_json(path: Path, content: object) -> None:
    """Write a file completely or not at all, with each list of numbers on one line."""
    text = re.sub(
        r'\[[\d\s.,eE+-]*\]',
        lambda found: re.sub(r'\s+', ' ', found.group()),
        json.dumps(content, indent=1),
    )
    with replacing(path) as unfinished:
        unfinished.write_text(text + '\n')


def times(sizes: Sequence[int]) -> str:
    """Return sizes as text, such as ``1×54×110``."""
    return '×'.join(map(str, sizes))


def one_line(error: Exception) -> str:
    """Return the beginning of an error's message, for use inside of a sentence."""
    return textwrap.shorten(str(error), 200, placeholder=' …').rstrip('.')
