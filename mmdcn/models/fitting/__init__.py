"""Completes configs before a model is built: fills in what they leave open."""

from .fit import Parts, fit_parts, fit_preprocessor, head_share_taken
from .probe import cell_centres, feature_shape, input_channels

__all__ = [
    'Parts',
    'cell_centres',
    'feature_shape',
    'fit_parts',
    'fit_preprocessor',
    'head_share_taken',
    'input_channels',
]
