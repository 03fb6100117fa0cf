"""Put the figures of results/*.json into READMEs and metafiles.

    python tools/dev_tools/fill_results.py           # --check only says which pages are out of date

A page has regions whose first line has `results: NAME` and whose last has `end of results`, in
comments of its format. In a README the name is an experiment's; in a metafile it is a config's.
"""

import argparse
import os
import re
from pathlib import Path

from mmdcn.analysis.results import metafile_results, render

ROOT = Path(__file__).parents[2]
REGION = re.compile(
    r'^( *)((?:<!--|#) results: (\S+)(?: -->)?)\n.*?^( *(?:<!--|#) end of results)',
    re.MULTILINE | re.DOTALL,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--check', action='store_true', help='write nothing; fail where a page is out of date'
    )
    args = parser.parse_args()
    stale = {page: text for page, text in filled(ROOT).items() if text != page.read_text('utf-8')}
    for page, text in stale.items():
        print(f'{page.relative_to(ROOT)}: {"out of date" if args.check else "filled"}')
        if not args.check:
            unfinished = page.with_name(f'{page.name}.unfinished')
            unfinished.write_text(text, 'utf-8')
            unfinished.replace(page)
    if args.check and stale:
        raise SystemExit('Run `python tools/dev_tools/fill_results.py`.')


def filled(root: Path) -> dict[Path, str]:
    """Page -> its text with all regions as results/*.json below ``root`` have them."""
    pages = [
        root / 'README.md',
        root / 'results' / 'README.md',
        *(root / 'configs').glob('*/README.md'),
        *(root / 'configs').glob('*/metafile.yml'),
    ]
    return {page: fill(page.read_text('utf-8'), root / 'results', page.parent) for page in pages}


def fill(text: str, results: Path, folder: Path) -> str:
    """The text of a page in ``folder`` with its regions filled, all else as it is."""
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
