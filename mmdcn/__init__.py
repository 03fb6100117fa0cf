"""Dynamic Capacity Networks (Almahairi et al., ICML 2016) for MMPretrain."""

import warnings
from typing import Any

from mmdcn.utils.dependencies import check_dependencies

# MMCV warns of a missing operator, which mmdcn does not use, on each import of mmcv-lite.
warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformableAttention``')

check_dependencies()

from mmdcn.utils.safe_globals import register_safe_globals  # noqa: E402
from mmdcn.version import __version__  # noqa: E402

register_safe_globals()

__all__ = ['DCNInferencer', '__version__', 'get_model', 'list_models']


def __getattr__(name: str) -> Any:
    # Import on demand, because tools that prepare data need no models.
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from mmdcn import apis

    return getattr(apis, name)
