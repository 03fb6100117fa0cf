"""The head of Cluttered MNIST."""

from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import nn

from mmdcn.registry import MODELS
from mmdcn.structures import last_map
from mmdcn.structures.feature_map import Features

from .entropy import entropy_and_gradient_norm_by_autograd
from .global_pool_head import GlobalPoolHead


@MODELS.register_module()
class GlobalMaxPoolHead(GlobalPoolHead):
    """The top layers g of Cluttered MNIST: convolution, global max pool, linear layer.

    Appendix 6.1: a 4×4/2 × 96 convolution without padding, batch norm and ReLU, then the maximum
    of each channel over all cells and a softmax over 10 classes. The head takes any feature map,
    so it also works on an MMPretrain backbone in an ``ImageClassifier``.

    Args:
        num_classes: Classes C.
        in_channels: Channels D of the feature map.
        mid_channels: Filters of the convolution.
        kernel_size: Height and width of the convolution, in cells.
        stride: Stride of the convolution, in cells.
        norm_cfg: Normalisation after the convolution.
        init_cfg: MMEngine's initialisation.
        **kwargs: ``loss``, ``topk`` and ``cal_acc`` of MMPretrain's ``ClsHead``.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        mid_channels: int = 96,
        kernel_size: int = 4,
        stride: int = 2,
        norm_cfg: dict = dict(type='BN'),
        init_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes=num_classes, in_channels=in_channels, init_cfg=init_cfg, **kwargs
        )
        self.conv = ConvModule(
            in_channels, mid_channels, kernel_size, stride=stride, norm_cfg=norm_cfg
        )
        self.fc = nn.Linear(mid_channels, num_classes)

    def pre_logits(self, feats: Features) -> torch.Tensor:
        """Return the pooled features.

        Args:
            feats: A map (N, D, h, w), or a backbone's tuple of maps, whose last map is used.

        Returns:
            Tensor: (N, mid_channels).

        Raises:
            ValueError: The number of channels is not ``in_channels``, or the map is smaller than
                the convolution's kernel.
        """
        return self._peaks(feats)[0]

    def _peaks(self, feats: Features) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each channel's maximum and the window that has it, both (N, mid_channels)."""
        # Among windows with equal maxima one is taken, so each channel's gradient has one window.
        peaks, windows = F.adaptive_max_pool2d(self._responses(feats), 1, return_indices=True)
        return peaks.flatten(1), windows.flatten(1)

    def _responses(self, feats: Features) -> torch.Tensor:
        """Return each filter's response to each window, (N, mid_channels, rows, columns)."""
        feats = self._map(feats)
        kernel = self.conv.kernel_size
        if feats.size(2) < kernel[0] or feats.size(3) < kernel[1]:
            raise ValueError(
                f'GlobalMaxPoolHead needs a feature map of at least {kernel[0]}×{kernel[1]} '
                f'cells, got {feats.size(2)}×{feats.size(3)}: enlarge the image.'
            )
        return self.conv(feats)

    def entropy_and_gradient_norm(self, feats: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return :meth:`entropy` and its gradient's norm in each cell, without a backward pass.

        The gradient −p (log p + H) goes back through the linear layer. Each channel then passes
        its part to the one window that had the maximum (eqs. 2, 3). This holds in evaluation mode
        only.

        Args:
            feats: (N, D, h, w).

        Returns:
            tuple: (N,) and (N, h, w) without a graph. Autograd computes them if the norm is not
            batch norm.
        """
        scale = scale_of_norm(self.conv)
        if scale is None:
            return entropy_and_gradient_norm_by_autograd(self, feats)
        with torch.no_grad():
            peaks, windows = self._peaks(feats)
            entropy, of_peaks = self._entropy_and_gradient(peaks)
            of_windows = of_peaks * scale * (peaks > 0)  # no gradient passes a ReLU at 0
            layer, size = self.conv.conv, (feats.size(2), feats.size(3))
            gradient = scatter_windows(of_windows, windows, layer.weight, layer.stride, size)
            return entropy, torch.linalg.vector_norm(gradient, dim=1)

    def class_activation(self, feats: Features) -> torch.Tensor:
        """Return each cell's evidence for the predicted class (Zhou et al., CVPR 2016, eq. 2).

        A window's evidence is the sum of its responses times the weights of the class. A cell's
        evidence is the sum over the windows that contain it. Filters with a negative weight are
        left out: because of the max pool, they take nothing away except at their maximum.

        Args:
            feats: (N, D, h, w), or a tuple whose last map has this shape.

        Returns:
            Tensor: (N, h, w), ≥ 0.
        """
        feats = last_map(feats)
        responses = self._responses(feats).flatten(2)
        predicted = self.fc(responses.amax(dim=2)).argmax(dim=1)
        weights = self.fc.weight[predicted].clamp(min=0)
        evidence = torch.einsum('nc,ncl->nl', weights, responses)
        kernel = self.conv.kernel_size
        windows = evidence.unsqueeze(1).expand(-1, kernel[0] * kernel[1], -1)
        return F.fold(windows, feats.shape[-2:], kernel, stride=self.conv.stride).squeeze(1)


def scatter_windows(
    values: torch.Tensor,
    windows: torch.Tensor,
    weight: torch.Tensor,
    stride: tuple[int, int],
    size: tuple[int, int],
) -> torch.Tensor:
    """Compute the transposed convolution of a map with one nonzero cell in each channel.

    Each row of cells is divided into blocks as wide as the stride, so that a window covers whole
    blocks. With channels last, a block is a run of stride · D numbers in the map and in the
    weight, and only these are added. A dense transposed convolution reads far more.

    Args:
        values: (N, M), the nonzero value of each channel.
        windows: (N, M) int64, its place: a flat index into the convolution's output cells.
        weight: (M, D, kernel height, kernel width); no padding.
        stride: Vertical and horizontal stride.
        size: (h, w) of the convolution's input.

    Returns:
        Tensor: (N, D, h, w), channels last in memory.
    """
    count, (channels, height, width) = values.size(0), weight.shape[1:]
    columns = (size[1] - width) // stride[1] + 1  # windows in a row
    covered = (width + stride[1] - 1) // stride[1]  # blocks in a window's row
    blocks = (size[1] + stride[1] - 1) // stride[1]  # blocks in a row of the map

    weight = weight.permute(0, 2, 3, 1)
    if width < covered * stride[1]:
        weight = F.pad(weight, (0, 0, 0, covered * stride[1] - width))
    rows = torch.einsum('nm,mr->nmr', values, weight.flatten(1))

    across, down = (torch.arange(n, device=values.device) for n in (covered, height))
    first = windows // columns * (stride[0] * blocks) + windows % columns
    of_image = torch.arange(count, device=values.device) * (size[0] * blocks)
    places = (first + of_image.unsqueeze(1))[:, :, None, None] + down.unsqueeze(1) * blocks + across
    gradient = values.new_zeros(count * size[0] * blocks, stride[1] * channels)
    gradient.index_add_(0, places.flatten(), rows.view(-1, gradient.size(1)))
    gradient = gradient.view(count, size[0], blocks * stride[1], channels)
    return gradient.narrow(2, 0, size[1]).permute(0, 3, 1, 2)


def scale_of_norm(conv: ConvModule) -> torch.Tensor | None:
    """Return the factors of a convolution's norm: 1 without a norm, None if they are unknown."""
    norm = conv.norm if conv.with_norm else nn.Identity()
    if isinstance(norm, nn.Identity):  # also if the norm is fused into the convolution
        return conv.conv.weight.new_ones(())
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or norm.running_var is None:
        return None
    scale = (norm.running_var + norm.eps).rsqrt()
    return scale if norm.weight is None else scale * norm.weight
