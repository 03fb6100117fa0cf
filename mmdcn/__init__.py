"""Dynamic Capacity Networks (Almahairi et al., ICML 2016) for MMPretrain."""
from mmdcn.utils.dependencies import check_dependencies

check_dependencies()

from mmdcn.utils.safe_globals import register_safe_globals  # noqa: E402
from mmdcn.version import __version__  # noqa: E402

register_safe_globals()

__all__ = ['__version__']
