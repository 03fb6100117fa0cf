from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


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
    python_requires='>=3.10',
    # MMEngine, MMCV and MMPretrain stand in mminstall.txt alone, as everywhere in OpenMMLab:
    # naming mmcv-lite here would overwrite the mmcv that a user has.
    install_requires=requirements('runtime'),
    extras_require={'tests': requirements('tests') + requirements('optional'),
                    'optional': requirements('optional'), 'mim': requirements('mminstall')},
)
