"""Check the versions of the OpenMMLab packages that mmdcn needs."""

from collections.abc import Callable
from importlib import import_module, metadata

# package -> (lowest version, first version that is too new, requirement to install from OpenMMLab,
# requirement to install from the maintained fork, whose packages are imported under the same names)
OPENMMLAB_VERSIONS: dict[str, tuple[str, str, str, str]] = {
    'mmengine': ('0.10.5', '1.0.0', 'mmengine==0.10.7', 'onedl-mmengine==0.10.12'),
    'mmcv': ('2.0.0', '2.4.0', 'mmcv-lite==2.2.0', 'onedl-mmcv==2.3.6'),
    'mmpretrain': ('1.2.0', '2.0.0', 'mmpretrain==1.2.0', 'onedl-mmpretrain==1.3.6'),
}


def _import_version(package: str) -> str:
    return import_module(package).__version__


def _fork_is_installed() -> bool:
    try:
        return bool(metadata.version('onedl-mmengine'))
    except metadata.PackageNotFoundError:
        return False


def check_dependencies(
    installed: Callable[[str], str] = _import_version,
    fork_is_installed: Callable[[], bool] = _fork_is_installed,
) -> None:
    """Check that mmengine, mmcv and mmpretrain are installed in versions that work.

    Args:
        installed: Maps a package's name to its installed version; raises ``ModuleNotFoundError``
            if it is not installed.
        fork_is_installed: Says whether the fork is installed. Then the message names packages of
            the fork, because those of OpenMMLab would overwrite its files.

    Raises:
        ImportError: A package is missing, too old or too new. The message says what to install.
    """
    for package, (lowest, too_new, of_openmmlab, of_fork) in OPENMMLAB_VERSIONS.items():
        requirement = of_fork if fork_is_installed() else of_openmmlab
        wanted = (
            f'mmdcn needs {package}>={lowest},<{too_new}, but {{found}}; '
            f'run `pip install {requirement}`.'
        )
        try:
            version = installed(package)
        except ModuleNotFoundError as error:
            if error.name != package:
                raise
            raise ImportError(wanted.format(found='it is not installed')) from error
        except (AssertionError, AttributeError) as error:
            # MMPretrain checks versions by assertions when it is imported.
            raise ImportError(wanted.format(found=f'importing it fails ({error})')) from error
        if not _release(lowest) <= _release(version) < _release(too_new):
            raise ImportError(wanted.format(found=f'{version} is installed'))


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version before any suffix: ``'2.2.0rc1'`` -> ``(2, 2, 0)``."""
    numbers = []
    for part in version.split('.')[:3]:
        digits = part[: len(part) - len(part.lstrip('0123456789'))]
        numbers.append(int(digits or 0))
    return tuple(numbers)
