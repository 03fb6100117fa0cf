"""Fit two towers together that were not made for each other."""

import math

from mmcv.cnn import ConvModule
from torch import nn

from mmdcn.models.patches.geometry import Pair, to_pair

from .probe import SHORT, cell_centres, feature_shape


def centred_patches(grid: dict, coarse: nn.Module, scale: float) -> dict:
    """Add the stride and offset to a grid's config that centre patches where cells look.

    Args:
        grid: Config with a ``size``.
        coarse: Coarse tower.
        scale: Scale at which the coarse tower sees the image.

    Raises:
        ValueError: ``grid`` has an offset without a stride, or no size, or the trial run of the
            tower fails.
    """
    if 'offset' in grid:
        raise ValueError(
            'grid has an offset but no stride: give both, or neither for '
            'patches centred on what the coarse tower sees.'
        )
    if 'size' not in grid:
        raise ValueError(
            'grid has no size: give the height and width of a patch in pixels of the image.'
        )
    centres = cell_centres(coarse)
    stride = tuple(_whole(step / scale) for step in centres.stride)
    offset = tuple(
        centre / scale - length / 2
        for centre, length in zip(centres.first, to_pair(grid['size']), strict=True)
    )
    if all(isinstance(step, int) for step in stride):  # then all corners round in the same way
        offset = tuple(math.floor(corner + 0.5) for corner in offset)
    return {**grid, 'stride': stride, 'offset': offset}


def fitting_neck(coarse: nn.Module, fine: nn.Module, patch_size: Pair) -> nn.Module | None:
    """Build the layer that turns a fine map into one vector with the coarse channels.

    Return None if none is needed. Unlike MMPretrain's necks, the layer also accepts a batch of no
    patches.

    Raises:
        ValueError: The trial run of a tower fails.
    """
    channels = feature_shape(coarse, (SHORT, SHORT))[0]
    fine_channels, *cells = feature_shape(fine, patch_size)
    if fine_channels != channels:
        return nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            ConvModule(fine_channels, channels, 1, norm_cfg=dict(type='BN'), act_cfg=None),
        )
    return None if cells == [1, 1] else nn.AdaptiveAvgPool2d(1)


def _whole(number: float) -> int | float:
    return round(number) if math.isclose(number, round(number), rel_tol=1e-9) else number
