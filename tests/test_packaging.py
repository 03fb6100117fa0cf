"""Builds the package and uses what an installation would give."""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

from .conftest import ROOT

DEMO = ROOT / 'demo' / 'cluttered_mnist.png'
# Folders that are no part of a source tree.
UNTRACKED = ('.*', 'data', 'work_dirs', 'build', 'dist', '*.egg-info', '__pycache__')


def python(code: str, cwd: Path, path: str = '') -> str:
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, 'PYTHONPATH': path},
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope='module')
def tree(tmp_path_factory) -> Path:
    """A copy of the source tree in which something was built before."""
    copy = tmp_path_factory.mktemp('source') / 'mmdcn'
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*UNTRACKED))
    for old in ('mmdcn/removed.py', 'mmdcn/.mim/configs/removed.py'):
        (copy / 'build' / 'lib' / old).parent.mkdir(parents=True, exist_ok=True)
        (copy / 'build' / 'lib' / old).write_text('')
    (copy / 'configs' / 'notes.log').write_text('of a run')
    return copy


def built(tree: Path, what: str) -> Path:
    out = Path(tempfile.mkdtemp(dir=tree.parent))
    python(f'from setuptools import build_meta\nbuild_meta.build_{what}({str(out)!r})', tree)
    return next(out.iterdir())


@pytest.fixture(scope='module')
def wheel(tree) -> Path:
    return built(tree, 'wheel')


def tracked(suffixes: tuple, *folders: str) -> set:
    return {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob('*')
        if path.suffix in suffixes
    }


def test_a_wheel_holds_the_package_and_what_mim_wants_and_no_more(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if '.dist-info/' not in name}
    modules = {name for name in tracked(('.py', '.typed'), 'mmdcn') if '/.mim/' not in name}
    mim = tracked(('.png', '.py', '.yml', '.sh', '.pth'), 'configs', 'tools', 'checkpoints', 'demo')
    assert names == modules | {f'mmdcn/.mim/{name}' for name in {*mim, 'model-index.yml'}}


def test_an_installed_package_answers_at_once(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / 'site')
    printed = python(
        f"""
import mmdcn
assert mmdcn.__file__.startswith({str(tmp_path)!r})
result, = mmdcn.DCNInferencer('dcn-k8-hint')({str(DEMO)!r})
print(len(mmdcn.list_models()), result['pred_class'])
""",
        tmp_path,
        str(tmp_path / 'site'),
    )
    configs = [name for name in tracked(('.py',), 'configs') if '_base_' not in name]
    assert printed.splitlines()[-1] == f'{len(configs)} 7 - seven'


def test_a_source_archive_builds_the_same_wheel(tree, wheel, tmp_path):
    with tarfile.open(built(tree, 'sdist')) as archive:
        archive.extractall(tmp_path, filter='data')
    (source,) = tmp_path.iterdir()
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(built(source, 'wheel')) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


def test_an_editable_installation_links_to_the_sources_and_a_wheel_has_none_of_it(tree, wheel):
    built(tree, 'editable')
    mim = tree / 'mmdcn' / '.mim'
    assert sorted(path.name for path in mim.iterdir()) == [
        'checkpoints',
        'configs',
        'demo',
        'model-index.yml',
        'tools',
    ]
    for path in mim.iterdir():
        assert path.is_symlink() and path.resolve() == tree.resolve() / path.name
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(built(tree, 'wheel')) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


def test_the_links_of_an_editable_installation_are_not_tracked():
    assert '/mmdcn/.mim/' in (ROOT / '.gitignore').read_text().splitlines()
