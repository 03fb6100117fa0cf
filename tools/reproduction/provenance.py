"""Record the origin of figures: commit, versions, machine and command."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ('mmdcn', 'torch', 'mmengine', 'mmpretrain', 'mmcv', 'mmcv-lite', 'numpy')


def provenance() -> dict:
    """Return the current commit, versions and device."""
    return dict(commit=commit(), versions=versions(), device=device_name())


def commit() -> str:
    """Return the commit of the code, followed by a plus if the code has uncommitted changes."""

    def git(*args: str) -> str:
        return subprocess.run(
            ['git', '-C', str(ROOT), *args], check=True, capture_output=True, text=True
        ).stdout.strip()

    try:
        changed = git('status', '--porcelain', '--', 'mmdcn', 'tools', ':(glob)configs/**/*.py')
        return git('rev-parse', 'HEAD') + ('+' if changed else '')
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that figures depend on."""
    found = {'python': '.'.join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            pass
    return found


def device_name() -> str:
    """Return the name of the GPU, or of the CPU if there is no GPU."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpu = Path('/proc/cpuinfo')
    model = re.search(r'model name\s*:\s*(.*)', cpu.read_text()) if cpu.is_file() else None
    return f'CPU ({model.group(1) if model else "unknown"}, threads: {torch.get_num_threads()})'


def command_line(arguments: Iterable) -> str:
    """Return the command line with these arguments."""
    return shlex.join(['python', 'tools/reproduce.py', *map(str, arguments)])


def relative(path: Path) -> str:
    """Return a file's path from the root of the repository."""
    return str(path.resolve().relative_to(ROOT))


def distinct(items: Iterable) -> list:
    """Return the distinct items, sorted."""
    return sorted(set(items))
