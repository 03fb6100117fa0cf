import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
# What MIM and mmdcn.get_model look for in mmdcn/.mim once the package is installed.
MIM = ('checkpoints', 'configs', 'demo', 'model-index.yml', 'tools')
MIM_SUFFIXES = ('.png', '.pth', '.py', '.sh', '.yml')


class BuildWithMim(build_py):
    """Builds the package with copies, or for an editable install with links, of what is in MIM."""

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            link_mim(ROOT / 'mmdcn' / '.mim')
            return
        package = Path(self.build_lib) / 'mmdcn'
        shutil.rmtree(package, ignore_errors=True)  # of an earlier build, files since removed
        super().run()
        copy_mim(package / '.mim')


def link_mim(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in MIM:
        (folder / name).symlink_to(Path('..', '..', name))


def copy_mim(folder: Path) -> None:
    for name in MIM:
        for path in [ROOT / name, *(ROOT / name).rglob('*')]:
            if path.suffix in MIM_SUFFIXES and path.is_file():
                target = folder / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)


def requirements(name: str) -> list:
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    wanted = (line.partition('#')[0].strip() for line in lines)
    return [line for line in wanted if line]


version = {}
exec((ROOT / 'mmdcn' / 'version.py').read_text(), version)

setup(
    name='mmdcn',
    version=version['__version__'],
    description='Dynamic Capacity Networks for MMPretrain',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    packages=find_packages(include=['mmdcn', 'mmdcn.*']),
    cmdclass=dict(build_py=BuildWithMim),
    python_requires='>=3.10',
    # MMEngine, MMCV and MMPretrain stand in mminstall.txt alone, as everywhere in OpenMMLab:
    # naming mmcv-lite here would overwrite the mmcv that a user has.
    install_requires=requirements('runtime'),
    extras_require={
        'tests': requirements('tests') + requirements('optional'),
        'optional': requirements('optional'),
        'mim': requirements('mminstall'),
    },
)
