"""Imports point downwards: registry and utils, structures, models, ..., apis."""

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT


def lint_imports(folder: Path, config: Path) -> subprocess.CompletedProcess:
    code = 'from importlinter.cli import lint_imports_command as main; main()'
    return subprocess.run(
        [sys.executable, '-c', code, str(config), '--no-cache'],
        cwd=folder,
        text=True,
        capture_output=True,
    )


def test_imports_point_downwards():
    done = lint_imports(ROOT, ROOT / 'pyproject.toml')
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    'module, imported',
    [('structures', 'models'), ('models', 'evaluation'), ('sources', 'datasets')],
)
def test_an_import_that_points_upwards_is_found(module, imported, tmp_path):
    package = tmp_path / 'mmdcn'
    for name in ('apis', 'engine', 'evaluation', 'visualization', 'deployment', 'analysis'):
        (package / name).mkdir(parents=True)
    for name in ('models', 'datasets', 'sources', 'structures', 'registry', 'utils', 'version'):
        (package / name).mkdir()
    for folder in [package, *package.iterdir()]:
        (folder / '__init__.py').write_text('')
    (package / '__init__.py').write_text('import mmdcn.apis')
    (package / module / '__init__.py').write_text(f'import mmdcn.{imported}')
    done = lint_imports(tmp_path, ROOT / 'pyproject.toml')
    assert done.returncode != 0
    assert f'mmdcn.{module} is not allowed to import mmdcn.{imported}' in done.stdout
