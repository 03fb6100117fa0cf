"""Evaluation metrics."""

import mmpretrain.evaluation  # noqa: F401  (fills the parent registry)

from .metrics import *  # noqa: F401,F403
