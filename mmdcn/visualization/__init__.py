"""Draws predictions and charts."""

import mmpretrain.visualization  # noqa: F401  (fills the parent registry)
