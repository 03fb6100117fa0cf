"""Finds configs and what mmdcn registers."""

from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import Registry

from mmdcn import registry

from .conftest import ROOT

CONFIGS: list[Path] = sorted(
    path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts
)


def registries() -> dict[str, Registry]:
    return {name: value for name, value in vars(registry).items() if isinstance(value, Registry)}


def components() -> dict[str, type]:
    """Name -> class of everything that mmdcn registers itself, not a page that was run."""
    found = {}
    for child in registries().values():
        child.import_from_location()
        found.update(
            (name, part)
            for name, part in child.module_dict.items()
            if part.__module__.startswith('mmdcn.')
        )
    return found


def types_in(part) -> Iterator[str]:
    """Every ``type='X'`` inside of a config."""
    if isinstance(part, (dict, Config)):
        for key, value in part.items():
            if key == 'type' and isinstance(value, str):
                yield value.rsplit('.', 1)[-1]
            else:
                yield from types_in(value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            yield from types_in(value)
