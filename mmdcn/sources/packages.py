"""Import packages of requirements/large.txt when they are needed."""

from importlib import import_module
from types import ModuleType


def import_for(path: str, name: str, *also: str) -> ModuleType:
    """Import a package that reads a file.

    Args:
        path: The file.
        name: The package's module.
        *also: Other modules that it needs and imports late.

    Returns:
        ModuleType: The module of that name.

    Raises:
        ModuleNotFoundError: A package is missing; the message says how to install it.
    """
    for needed in (name, *also):
        try:
            import_module(needed)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"The image {path} needs the package {needed}: run `pip install 'mmdcn[large]'`.",
                name=needed,
            ) from error
    return import_module(name)
