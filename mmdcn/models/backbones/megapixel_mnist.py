"""The two towers for Megapixel MNIST, whose digits are 28 pixels in size."""

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import nn

from mmdcn.models.patches.geometry import receptive_field
from mmdcn.registry import MODELS


@MODELS.register_module()
class MegapixelMNISTCoarse(BaseModule):
    """A cheap tower that sees the whole image, strongly shrunk.

    Convolutions 5×5/2, 3×3 and 3×3/2, padded, each with batch norm and ReLU: a cell sees 13×13
    pixels at stride 4.

    Args:
        channels: Filters of the three convolutions.
        in_channels: Channels of the image.
        norm_cfg: Normalisation after each convolution.
        init_cfg: MMEngine's initialisation, e.g. ``dict(type='Pretrained', ...)``.
    """

    def __init__(
        self,
        *,
        channels: tuple[int, int, int] = (8, 16, 64),
        in_channels: int = 1,
        norm_cfg: dict = dict(type='BN'),
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg=init_cfg)
        first, second, self.out_channels = channels
        self.layers = nn.Sequential(
            ConvModule(in_channels, first, 5, stride=2, padding=2, norm_cfg=norm_cfg),
            ConvModule(first, second, 3, padding=1, norm_cfg=norm_cfg),
            ConvModule(second, self.out_channels, 3, stride=2, padding=1, norm_cfg=norm_cfg),
        )
        self.geometry = receptive_field(self.layers)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        """Return one map in a tuple: (N, C, H, W) -> (N, D, s1, s2)."""
        return (self.layers(images),)


@MODELS.register_module()
class MegapixelMNISTFine(BaseModule):
    """An expensive tower that sees patches at full resolution.

    Convolutions 5×5/2 × 16, 3×3/2 × 32, 3×3 × 64, 2×2 max pooling, 3×3 × 64 and 4×4 × 64, without
    padding, each with batch norm and ReLU. A 64×64 patch becomes one vector, and so does one of 64
    times ``enlarged``. A whole image becomes a map at stride 8, times ``enlarged``.

    Args:
        in_channels: Channels of the image.
        enlarged: How many times as large as MNIST's the digits are. Above 1, a convolution of this
            size and stride × 4 comes first, so that the others see MNIST's scale.
        norm_cfg: Normalisation after each convolution.
        init_cfg: MMEngine's initialisation, e.g. ``dict(type='Pretrained', ...)``.
    """

    out_channels = 64

    def __init__(
        self,
        *,
        in_channels: int = 1,
        enlarged: int = 1,
        norm_cfg: dict = dict(type='BN'),
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg=init_cfg)
        stem: list[nn.Module] = []
        if enlarged > 1:
            stem = [ConvModule(in_channels, 4, enlarged, stride=enlarged, norm_cfg=norm_cfg)]
            in_channels = 4
        self.layers = nn.Sequential(
            *stem,
            ConvModule(in_channels, 16, 5, stride=2, norm_cfg=norm_cfg),
            ConvModule(16, 32, 3, stride=2, norm_cfg=norm_cfg),
            ConvModule(32, 64, 3, norm_cfg=norm_cfg),
            nn.MaxPool2d(2),
            ConvModule(64, 64, 3, norm_cfg=norm_cfg),
            ConvModule(64, self.out_channels, 4, norm_cfg=norm_cfg),
        )
        self.geometry = receptive_field(self.layers)

    def forward(self, patches: torch.Tensor) -> tuple[torch.Tensor]:
        """Return one map in a tuple: (M, C, ph, pw) -> (M, 64, h, w).

        Raises:
            ValueError: The patch is smaller than ``enlarged`` times 61×61.
        """
        self.geometry.check_covers(patches, self)
        return (self.layers(patches),)
