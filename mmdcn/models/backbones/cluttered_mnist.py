"""The two towers of the Cluttered MNIST experiment (§4.1, appendix 6.1)."""

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import nn

from mmdcn.models.patches.geometry import receptive_field
from mmdcn.registry import MODELS


@MODELS.register_module()
class ClutteredMNISTCoarse(BaseModule):
    """The cheap tower f_c, which sees the whole image (appendix 6.1).

    Convolutions 7×7/2 × 12 and 3×3/2 × 24 without padding, each with batch norm and
    ReLU. A 100×100 image becomes 23×23 cells, each covering 11×11 pixels at stride 4.

    Args:
        in_channels: Channels of the image.
        norm_cfg: Normalisation after each convolution.
        init_cfg: MMEngine's initialisation, e.g. ``dict(type='Pretrained', ...)``.
    """

    out_channels = 24

    def __init__(
        self,
        *,
        in_channels: int = 1,
        norm_cfg: dict = dict(type='BN'),
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg=init_cfg)
        self.layers = nn.Sequential(
            ConvModule(in_channels, 12, 7, stride=2, norm_cfg=norm_cfg),
            ConvModule(12, self.out_channels, 3, stride=2, norm_cfg=norm_cfg),
        )
        self.geometry = receptive_field(self.layers)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        """(N, C, H, W) -> one map (N, 24, s1, s2) in a tuple.

        Raises:
            ValueError: The image is smaller than one cell's 11×11 pixels.
        """
        self.geometry.check_covers(images, self)
        return (self.layers(images),)


@MODELS.register_module()
class ClutteredMNISTFine(BaseModule):
    """The expensive tower f_f, which sees patches (appendix 6.1).

    Five 3×3 convolutions × 24 at stride 1, padded 0, 1, 1, 1, 0, each with batch norm and
    ReLU; 2×2 max pooling after the second and the fourth. A 14×14 patch becomes one
    vector, a whole 100×100 image (the paper's fine model) a 22×22 map.

    Args:
        in_channels: Channels of the image.
        norm_cfg: Normalisation after each convolution.
        init_cfg: MMEngine's initialisation, e.g. ``dict(type='Pretrained', ...)``.
    """

    out_channels = 24

    def __init__(
        self,
        *,
        in_channels: int = 1,
        norm_cfg: dict = dict(type='BN'),
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg=init_cfg)
        width = self.out_channels

        def conv(channels: int, padding: int) -> ConvModule:
            return ConvModule(channels, width, 3, padding=padding, norm_cfg=norm_cfg)

        self.layers = nn.Sequential(
            conv(in_channels, 0),
            conv(width, 1),
            nn.MaxPool2d(2),
            conv(width, 1),
            conv(width, 1),
            nn.MaxPool2d(2),
            conv(width, 0),
        )
        # Trains 1.3 (8 patches) to 2 times (whole images) as fast on a CPU.
        self.to(memory_format=torch.channels_last)
        self.geometry = receptive_field(self.layers)

    def forward(self, patches: torch.Tensor) -> tuple[torch.Tensor]:
        """(M, C, ph, pw) -> one map (M, 24, h, w) in a tuple; 14×14 gives 1×1.

        Raises:
            ValueError: The patch is too small to leave anything.
        """
        self.geometry.check_covers(patches, self)
        return (self.layers(patches),)
