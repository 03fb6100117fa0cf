"""Tables of models and their figures."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table


def names_of(configs: Sequence[Path]) -> list[str]:
    """``dcn-k8_1xb128-60e_cluttered-mnist.py`` -> ``dcn-k8``, or all of it where two are alike."""
    short = [path.stem.split('_')[0] for path in configs]
    return short if len(set(short)) == len(short) else [path.stem for path in configs]


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of cells; the first column, a name, is on the left, the others on the right."""
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify='right' if index else 'left', no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console()
    # No figure is cut, be the terminal narrow or the output piped.
    whole = Measurement.get(console, console.options.update(width=10**4), table).maximum
    console.width = max(console.width, whole)
    console.print(table)
