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
        """Return one map in a tuple: (N, C, H, W) -> (N, 24, s1, s2).

        Raises:
            ValueError: The image is smaller than one cell's 11×11 pixels.
        """
        self.geometry.check_covers(images, self)
        return (self.layers(images),)


@MODELS.register_module()
class ClutteredMNISTFine(BaseModule):
    """The expensive tower f_f, which sees patches (appendix 6.1).

    Five 3×3 convolutions × 24 at stride 1, padded by 0, 1, 1, 1 and 0, each with batch norm
    and ReLU; 2×2 max pooling after the second and the fourth. A 14×14 patch becomes one
    vector. A whole 100×100 image (the paper's fine model) becomes a 22×22 map.

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
        # On a CPU, training is 1.3 times (8 patches) to 2 times (whole images) as fast.
        self.to(memory_format=torch.channels_last)
        self.geometry = receptive_field(self.layers)

    def forward(self, patches: torch.Tensor) -> tuple[torch.Tensor]:
        """Return one map in a tuple: (M, C, ph, pw) -> (M, 24, h, w); 14×14 gives 1×1.

        Raises:
            ValueError: The patch is too small for one cell.
        """
        self.geometry.check_covers(patches, self)
        return (self.layers(patches),)
