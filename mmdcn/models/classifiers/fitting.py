"""What joins two towers that were not made for each other."""

import math

from mmcv.cnn import ConvModule
from torch import nn

from mmdcn.models.patches.geometry import Pair, to_pair
from mmdcn.models.patches.probe import SHORT, cell_centres, feature_shape


def centred_patches(patch_extractor: dict, coarse: nn.Module, scale: float) -> dict:
    """Complete a config with the stride and offset of patches centred on what cells see.

    Args:
        patch_extractor: Config with a ``size``.
        coarse: Coarse tower.
        scale: At which it sees the image.

    Raises:
        ValueError: There is an offset without a stride, or no size, or the tower can't be tried.
    """
    if 'offset' in patch_extractor:
        raise ValueError(
            'patch_extractor has an offset but no stride: give both, or neither for '
            'patches centred on what the coarse tower sees.'
        )
    if 'size' not in patch_extractor:
        raise ValueError(
            'patch_extractor has no size: give the height and width of a patch in '
            'pixels of the image.'
        )
    centres = cell_centres(coarse)
    stride = tuple(_whole(step / scale) for step in centres.stride)
    offset = tuple(
        centre / scale - length / 2
        for centre, length in zip(centres.first, to_pair(patch_extractor['size']))
    )
    if all(isinstance(step, int) for step in stride):  # then all corners are rounded alike
        offset = tuple(math.floor(corner + 0.5) for corner in offset)
    return {**patch_extractor, 'stride': stride, 'offset': offset}


def fitting_neck(coarse: nn.Module, fine: nn.Module, patch_size: Pair) -> nn.Module | None:
    """What makes one vector with the coarse map's channels of a patch's fine map, if needed.

    It takes no patches at all as well, which MMPretrain's necks do not.

    Raises:
        ValueError: A tower can't be tried.
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
