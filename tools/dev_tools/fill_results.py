"""Write the figures of results/*.json into READMEs and metafiles.

    python tools/dev_tools/fill_results.py           # --check only lists pages that are out of date

A page has regions to fill. The first line of a region has `results: NAME` and its last line has
`end of results`, both as comments of the page's format. NAME is an experiment in a README, and a
config in a metafile.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from mmdcn.utils.files import replacing

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.command_line import errors_as_messages
from tools.reproduction.results import metafile_results, render

ROOT = Path(__file__).parents[2]
REGION = re.compile(
    r'^( *)((?:<!--|#) results: (\S+)(?: -->)?)\n.*?^( *(?:<!--|#) end of results)',
    re.MULTILINE | re.DOTALL,
)


@errors_as_messages()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--check', action='store_true', help='write nothing; fail if a page is out of date'
    )
    args = parser.parse_args(argv)
    stale = {page: text for page, text in filled(ROOT).items() if text != page.read_text('utf-8')}
    for page, text in stale.items():
        print(f'{page.relative_to(ROOT)}: {"out of date" if args.check else "filled"}')
        if not args.check:
            with replacing(page) as unfinished:
                unfinished.write_text(text, 'utf-8')
    if args.check and stale:
        raise ValueError('Run `python tools/dev_tools/fill_results.py`.')


def filled(root: Path) -> dict[Path, str]:
    """Return page -> its text, with all regions filled from results/*.json below ``root``."""
    pages = [
        root / 'README.md',
        root / 'results' / 'README.md',
        *(root / 'docs').glob('*.md'),
        *(root / 'configs').glob('*/README.md'),
        *(root / 'configs').glob('*/metafile.yml'),
    ]
    return {page: fill(page.read_text('utf-8'), root / 'results', page.parent) for page in pages}


def fill(text: str, results: Path, folder: Path) -> str:
    """Return the text of a page in ``folder`` with its regions filled and nothing else changed."""
    link = '' if folder == results else f'{os.path.relpath(results, folder)}/'

    def region(match: re.Match) -> str:
        indent, begin, name, end = match.groups()
        if begin.startswith('#'):
            content = metafile_results(results, name)
        else:
            content = f'\n{render(results, name, link)}\n'
        lines = [indent + line if line else '' for line in content.split('\n')] if content else []
        return '\n'.join([indent + begin, *lines, end])

    return REGION.sub(region, text)


if __name__ == '__main__':
    main()
