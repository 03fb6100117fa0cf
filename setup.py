"""Put what MIM wants into the package; the rest is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
# What MIM and mmdcn.get_model look for in mmdcn/.mim once the package is installed.
MIM = ('checkpoints', 'configs', 'demo', 'model-index.yml', 'tools')
MIM_SUFFIXES = ('.png', '.pth', '.py', '.sh', '.yml')


class BuildWithMim(build_py):
    """Build the package with copies, or for an editable install with links, of what is in MIM."""

    def run(self) -> None:
        """Build into ``build_lib``, or link for an editable install."""
        if self.editable_mode:
            super().run()
            link_mim(ROOT / 'mmdcn' / '.mim')
            return
        package = Path(self.build_lib) / 'mmdcn'
        shutil.rmtree(package, ignore_errors=True)  # of an earlier build, files since removed
        super().run()
        copy_mim(package / '.mim')


def link_mim(folder: Path) -> None:
    """Link what MIM wants into the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in MIM:
        (folder / name).symlink_to(Path('..', '..', name))


def copy_mim(folder: Path) -> None:
    """Copy what MIM wants into the folder."""
    for name in MIM:
        for path in [ROOT / name, *(ROOT / name).rglob('*')]:
            if path.suffix in MIM_SUFFIXES and path.is_file():
                target = folder / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)


setup(cmdclass=dict(build_py=BuildWithMim))
