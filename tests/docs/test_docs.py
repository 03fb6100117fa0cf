"""Runs what the pages of docs/ show, and looks for what they name."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tifffile
from PIL import Image

from ..conftest import ROOT
from ..tools.running import run_tool

PAGES = sorted((ROOT / 'docs').glob('*.md'))
BLOCK = re.compile(
    r'(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>python|bash)\n(?P<text>.*?)```', re.DOTALL
)
# What is changed in a page before it is run, for the sake of time.
QUICKER = {
    'ten_minutes.md': {
        'max_epochs=20': 'max_epochs=1',
        'T_max=20': 'T_max=1',
        'epoch_20.pth': 'epoch_1.pth',
        'scale=(512, 384)': 'scale=(128, 96)',
        'depth=18': 'depth=18, stem_channels=8, base_channels=8',
        'in_channels=512': 'in_channels=64',
        '1, 512, 12, 16': '1, 64, 12, 16',
        'tower + 512 * 128': 'tower + 64 * 128',
        '1_813_561_344': '41_244_672',  # an eighth of the stem's and a 64th of the others'
    },
    'large_images.md': {
        'max_epochs=20': 'max_epochs=1',
        'epoch_20.pth': 'epoch_1.pth',
        'depth=18': 'depth=18, stem_channels=8, base_channels=8',
        'in_channels=128': 'in_channels=16',
    },
}


class Block(NamedTuple):
    """A block of code, the line that it follows, and what the comment above it says."""

    line: int
    mark: str
    language: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding='utf-8')
    for plain, quick in QUICKER.get(page.name, {}).items():
        assert plain in text, plain
        text = text.replace(plain, quick)
    for found in BLOCK.finditer(text):
        yield Block(text.count('\n', 0, found.start('text')), **found.groupdict())


def runs(page: Path) -> bool:
    """Return whether a block of the page is run here."""
    return any(block.mark == 'run' for block in blocks(page))


def make_images(folder: Path, kind: str, *sizes: tuple[int, int]) -> None:
    """Make an image of each size, for each class, for training and for validation."""
    generator = np.random.default_rng(0)
    for subset in ('train', 'val'):
        for name in ('good', 'scratched'):
            images = folder / subset / name
            images.mkdir(parents=True)
            for index, size in enumerate(sizes):
                pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
                path = images / f'{index}.{kind}'
                if kind == 'tif':
                    tifffile.imwrite(path, pixels, tile=(256, 256), photometric='rgb')
                else:
                    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize('page', [page for page in PAGES if runs(page)], ids=lambda page: page.stem)
def test_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch, mnist_root):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as the working folder is, where a user runs Python
    for name in ('checkpoints', 'configs', 'demo'):
        Path(name).symlink_to(ROOT / name)
    make_images(Path('data', 'parts'), 'png', (384, 512), (384, 512))
    if page.stem == 'large_images':
        make_images(Path('data', 'scans'), 'tif', (1600, 1800), (1700, 1800))
    Path('data', 'mnist').symlink_to(mnist_root)
    names = {'__name__': '__main__'}
    for block in blocks(page):
        if block.mark.startswith('file: '):
            Path(block.mark[len('file: ') :]).write_text(block.text, encoding='utf-8')
        elif block.mark != 'run':
            continue
        elif block.language == 'python':
            exec(compile('\n' * block.line + block.text, str(page), 'exec'), names)
        else:
            for command in block.text.replace('\\\n', ' ').splitlines():
                program, tool, *args = shlex.split(command, comments=True)
                assert program == 'python'
                run_tool(tool, *args, folder=tmp_path)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_page_is_run_or_says_why_not(page):
    for block in blocks(page):
        kind, _, what = (block.mark or '').partition(': ')
        if kind == 'not run':
            assert block.language == 'bash' and what, block.text
        elif kind.startswith('run by '):
            assert f'<!-- {kind} -->' in (ROOT / kind[len('run by ') :]).read_text('utf-8')
        else:
            assert kind in ('run', 'file'), block.text


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_lead_somewhere(page):
    links = re.findall(r'\]\((?!http)([^)#]*)(?:#([^)]*))?\)', page.read_text(encoding='utf-8'))
    for path, anchor in links:
        target = page.parent / path if path else page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), f'{path}#{anchor}'


def anchors(page: Path) -> Iterator[str]:
    """Of a page's headings, as they are made of their words."""
    text = re.sub(r'```.*?```', '', page.read_text(encoding='utf-8'), flags=re.DOTALL)
    for heading in re.findall(r'^#+ (.*)$', text, re.MULTILINE):
        yield re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')


def test_files_that_a_page_names_hold_what_it_says_of_them():
    """What stands in code in a row of a table stands in the files of that row."""
    seen = 0
    for page in PAGES:
        for line in page.read_text(encoding='utf-8').splitlines():
            files = re.findall(r'`((?:mmdcn|tests|tools|configs)/[\w/.*-]+)`', line)
            for file in files:
                assert list(ROOT.glob(file)), file
            if not line.startswith('|') or not files:
                continue
            sources = '\n'.join(
                path.read_text(encoding='utf-8')
                for file in files
                for path in ROOT.glob(file)
                if path.is_file()
            )
            for name in re.findall(r'`([A-Za-z_]\w*)(?:\(\))?`', line):
                assert re.search(rf'\b{name}\b', sources), f'{name} in {files}'
                seen += 1
    assert seen
