"""Versions of the OpenMMLab packages that mmdcn runs on."""
from importlib import import_module
from typing import Callable, Dict, Tuple

# package -> (lowest version, first version too new, what to install)
OPENMMLAB_VERSIONS: Dict[str, Tuple[str, str, str]] = {
    'mmengine': ('0.10.5', '1.0.0', 'mmengine==0.10.7'),
    'mmcv': ('2.0.0', '2.4.0', 'mmcv-lite==2.2.0'),
    'mmpretrain': ('1.2.0', '2.0.0', 'mmpretrain==1.2.0'),
}


def _import_version(package: str) -> str:
    return import_module(package).__version__


def check_dependencies(installed: Callable[[str], str] = _import_version) -> None:
    """Check that mmengine, mmcv and mmpretrain are there in a version that works.

    Args:
        installed: Maps a package's name to its installed version, raising
            ``ModuleNotFoundError`` where it is absent.

    Raises:
        ImportError: A package is absent, too old or too new. The message says
            what to install.
    """
    for package, (lowest, too_new, requirement) in OPENMMLAB_VERSIONS.items():
        wanted = (f'mmdcn needs {package}>={lowest},<{too_new}, but {{found}}; '
                  f'run `pip install {requirement}`.')
        try:
            version = installed(package)
        except ModuleNotFoundError as error:
            if error.name != package:
                raise
            raise ImportError(wanted.format(found='it is not installed')) from error
        except (AssertionError, AttributeError) as error:
            # MMPretrain asserts the versions it likes while being imported.
            raise ImportError(wanted.format(found=f'importing it fails ({error})')) from error
        if not _release(lowest) <= _release(version) < _release(too_new):
            raise ImportError(wanted.format(found=f'{version} is installed'))


def _release(version: str) -> Tuple[int, ...]:
    """``'2.2.0rc1'`` -> ``(2, 2, 0)``: the numbers before any suffix."""
    numbers = []
    for part in version.split('.')[:3]:
        digits = part[:len(part) - len(part.lstrip('0123456789'))]
        numbers.append(int(digits or 0))
    return tuple(numbers)
