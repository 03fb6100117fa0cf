"""Folders and options of a reproduction."""

import statistics
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tools.output import write_json

from .provenance import distinct, provenance, versions
from .results import section

PAPER = 'Almahairi et al., Dynamic Capacity Networks, ICML 2016'


class Place(NamedTuple):
    """Folders and options of a reproduction.

    Attributes:
        args: Arguments of the command line.
        command: The command line.
        work: The folder of trainings.
        results: The folder of tables and figures.
    """

    args: Namespace
    command: str
    work: Path
    results: Path

    def write(self, name: str, **content) -> None:
        """Write ``results/<name>.json`` completely or not at all, and print its table."""
        sources = content.pop('sources', None) or [provenance()]
        result = dict(
            name=name,
            command=content.pop('command', self.command),
            quick=self.args.quick,
            amp=self.args.amp,
            commits=distinct(source['commit'] for source in sources),
            devices=distinct(source['device'] for source in sources),
            torch=distinct(source['versions']['torch'] for source in sources),
            versions=versions(),
            evaluated=provenance(),
            **content,
        )
        write_json(self.results / f'{name}.json', result)
        print(f'\n{section(result)}\n\n{self.results / name}.json written.')


def summary(errors: Sequence[float]) -> dict:
    """Return errors in percent, with their mean and sample standard deviation."""
    return dict(
        errors=list(errors),
        mean=statistics.fmean(errors) if errors else None,
        std=statistics.stdev(errors) if len(errors) > 1 else None,
    )
