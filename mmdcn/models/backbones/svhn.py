"""The two towers of the SVHN experiment (§4.2, appendix 6.2)."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import nn

from mmdcn.models.patches.geometry import receptive_field
from mmdcn.registry import MODELS

Size = int | tuple[int, int]


class _Conv(NamedTuple):
    """A convolution; sizes are (vertical, horizontal)."""

    filters: int
    kernel: Size
    stride: Size = 1
    padding: int = 0


POOL = 'pool'  # 2×2 maximum at stride 2

COARSE = (
    _Conv(24, 5, 2),
    _Conv(48, 5, 2),
    _Conv(128, 5, 2),
    _Conv(192, (4, 5), (1, 2)),
    _Conv(192, (1, 4)),
    _Conv(1024, 1),
    _Conv(1024, 1),
)
FINE = (
    _Conv(48, 5, padding=2),
    POOL,
    _Conv(64, 5, padding=2),
    _Conv(128, 5, padding=2),
    POOL,
    _Conv(160, 5, padding=2),
    _Conv(192, 5, padding=2),
    POOL,
    *3 * (_Conv(192, 3, padding=1),),
    *3 * (_Conv(1024, 1),),
)


class _Chain(BaseModule):
    """A chain of poolings and of convolutions with norm, ReLU and dropout."""

    def __init__(
        self,
        recipe: Iterable[_Conv | str],
        in_channels: int,
        width: float,
        dropout: tuple[float, float],
        norm_cfg: dict | None,
        init_cfg: dict | None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if width <= 0:
            raise ValueError(
                f'{type(self).__name__}(width=...) multiplies the filters and must be '
                f'positive, got {width}.'
            )
        self.layers = nn.Sequential()
        for layer in recipe:
            if isinstance(layer, str):
                self.layers.append(nn.MaxPool2d(2))
                continue
            filters = max(round(width * layer.filters), 1)
            self.layers.append(
                ConvModule(
                    in_channels,
                    filters,
                    layer.kernel,
                    layer.stride,
                    layer.padding,
                    norm_cfg=norm_cfg,
                )
            )
            self.layers.append(nn.Dropout(dropout[layer.kernel == 1]))
            in_channels = filters
        self.out_channels = in_channels
        self.geometry = receptive_field(self.layers)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        """Return one map in a tuple: (N, C, H, W) -> (N, D, h, w).

        Raises:
            ValueError: The image is too small for one cell.
        """
        self.geometry.check_covers(images, self)
        return (self.layers(images),)


@MODELS.register_module()
class SVHNCoarse(_Chain):
    """The cheap tower f_c of the SVHN experiment (appendix 6.2).

    Convolutions: 5×5/2 with 24, 48 and 128 filters; 4×5 at stride (1, 2) with 192; 1×4 with
    192; two of 1×1 with 1024. None is padded. A 54×110 window becomes one cell, and cells are
    (8, 16) pixels apart. A cell sees 53×109 of these pixels: stride 2 skips the last row and
    column.

    Args:
        in_channels: Channels of the image.
        width: Multiplies the number of all filters; 1 is the paper's network.
        dropout: Rates after ordinary convolutions and after 1×1 convolutions, which the paper
            calls fully connected.
        norm_cfg: Normalisation after each convolution; the paper names none here.
        init_cfg: MMEngine's initialisation, e.g. ``dict(type='Pretrained', ...)``.

    Raises:
        ValueError: ``width`` is not positive.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        width: float = 1.0,
        dropout: tuple[float, float] = (0.2, 0.5),
        norm_cfg: dict | None = dict(type='BN'),
        init_cfg: dict | None = None,
    ):
        super().__init__(COARSE, in_channels, width, dropout, norm_cfg, init_cfg)


@MODELS.register_module()
class SVHNFine(_Chain):
    """The expensive tower f_f of the SVHN experiment (appendix 6.2).

    Convolutions: padded 5×5 with 48, 64, 128, 160 and 192 filters, with 2×2 max pooling after
    the first, third and fifth; three of 3×3 with 192; three of 1×1 with 1024. Cells are 8 pixels
    apart and see 108×108 pixels. A 54×110 patch becomes a 6×13 map.

    Args:
        in_channels: Channels of the image.
        width: Multiplies the number of all filters; 1 is the paper's network.
        dropout: Rates after ordinary convolutions and after 1×1 convolutions, which the paper
            calls fully connected.
        norm_cfg: Normalisation after each convolution; the paper names none here.
        init_cfg: MMEngine's initialisation, e.g. ``dict(type='Pretrained', ...)``.

    Raises:
        ValueError: ``width`` is not positive.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        width: float = 1.0,
        dropout: tuple[float, float] = (0.2, 0.5),
        norm_cfg: dict | None = dict(type='BN'),
        init_cfg: dict | None = None,
    ):
        super().__init__(FINE, in_channels, width, dropout, norm_cfg, init_cfg)
