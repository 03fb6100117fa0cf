"""Additions to MMEngine's training: hooks, and support for CPUs."""

import mmpretrain.engine  # noqa: F401  (fills the parent registry)

from .cpu import CPUAmpOptimWrapper  # noqa: F401  (registered by being imported)
from .hooks import *  # noqa: F401,F403
