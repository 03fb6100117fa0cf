import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import nn

from mmdcn.registry import MODELS

from .global_pool_head import Features, GlobalPoolHead


@MODELS.register_module()
class GlobalMaxPoolHead(GlobalPoolHead):
    """The top layers g of Cluttered MNIST: convolution, global max pool, linear layer.

    Appendix 6.1: 4×4/2 × 96 without padding, batch norm and ReLU, then the maximum of each
    channel over all cells and a softmax of 10. Takes any feature map, so it also sits
    on an MMPretrain backbone in an ``ImageClassifier``.

    Args:
        num_classes: Classes C.
        in_channels: Channels D of the feature map.
        mid_channels: Filters of the convolution.
        kernel_size: Its height and width, in cells.
        stride: Its stride, in cells.
        norm_cfg: Normalisation after it.
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
        **kwargs,
    ):
        super().__init__(
            num_classes=num_classes, in_channels=in_channels, init_cfg=init_cfg, **kwargs
        )
        self.conv = ConvModule(
            in_channels, mid_channels, kernel_size, stride=stride, norm_cfg=norm_cfg
        )
        self.fc = nn.Linear(mid_channels, num_classes)

    def pre_logits(self, feats: Features) -> torch.Tensor:
        """The pooled features.

        Args:
            feats: A map (N, D, h, w), or a backbone's tuple, of which the last is taken.

        Returns:
            Tensor: (N, mid_channels).

        Raises:
            ValueError: The map has other channels than ``in_channels`` or is smaller than the
                convolution's kernel.
        """
        return self._peaks(feats)[0]

    def _peaks(self, feats: Features) -> tuple[torch.Tensor, torch.Tensor]:
        """Each channel's maximum and the window where it is, both (N, mid_channels)."""
        # Of equal windows one is taken, so that the gradient has one window a channel.
        peaks, windows = F.adaptive_max_pool2d(self._responses(feats), 1, return_indices=True)
        return peaks.flatten(1), windows.flatten(1)

    def _responses(self, feats: Features) -> torch.Tensor:
        """Of each filter to each window, (N, mid_channels, rows, columns)."""
        feats = self._map(feats)
        kernel = self.conv.kernel_size
        if feats.size(2) < kernel[0] or feats.size(3) < kernel[1]:
            raise ValueError(
                f'GlobalMaxPoolHead needs a feature map of at least {kernel[0]}×{kernel[1]} '
                f'cells, got {feats.size(2)}×{feats.size(3)}: enlarge the image.'
            )
        return self.conv(feats)

    def entropy_and_gradient_norm(
        self, feats: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """:meth:`entropy` and the norm of its gradient in each cell, without a backward pass.

        −p (log p + H) goes back through the linear layer, and then each channel hands its share
        to the one window that was its maximum (eqs. 2, 3). In evaluation mode only.

        Args:
            feats: (N, D, h, w).

        Returns:
            tuple: (N,) and (N, h, w) without a graph, or None where the norm is no batch norm.
        """
        scale = scale_of_norm(self.conv)
        if scale is None:
            return None
        with torch.no_grad():
            peaks, windows = self._peaks(feats)
            entropy, of_peaks = self._entropy_and_gradient(peaks)
            of_windows = of_peaks * scale * (peaks > 0)  # nothing passes a ReLU that is shut
            gradient = scatter_windows(
                of_windows, windows, self.conv.conv.weight, self.conv.conv.stride, feats.shape[2:]
            )
            return entropy, torch.linalg.vector_norm(gradient, dim=1)

    def class_activation(self, feats: Features) -> torch.Tensor:
        """How much each cell speaks for the predicted class (Zhou et al., CVPR 2016, eq. 2).

        A window's evidence is the class's weights times the responses to it; a cell gets the sum
        over the windows that contain it. Filters with a negative weight are left out: under
        a max pool what they answer elsewhere than at their maximum takes nothing away.

        Args:
            feats: (N, D, h, w), or a tuple ending in it.

        Returns:
            Tensor: (N, h, w), ≥ 0.
        """
        feats = feats[-1] if isinstance(feats, (tuple, list)) else feats
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
    """The transposed convolution of a map that has one nonzero cell in each channel.

    In blocks of as many cells of a row as the stride is wide, a window covers whole blocks. With
    channels last these are rows of stride · D numbers to add up, of the map as of the
    weight; a dense transposed convolution reads far more.

    Args:
        values: (N, M), each channel's number.
        windows: (N, M) int64, where it is: flat over the convolution's output cells.
        weight: (M, D, kernel height, kernel width); no padding.
        stride: Vertical and horizontal.
        size: (h, w) of the convolution's input.

    Returns:
        Tensor: (N, D, h, w), channels last in memory.
    """
    count, (channels, height, width) = values.size(0), weight.shape[1:]
    columns = (size[1] - width) // stride[1] + 1  # windows of a row
    covered = (width + stride[1] - 1) // stride[1]  # blocks of a window's row
    blocks = (size[1] + stride[1] - 1) // stride[1]  # blocks of a row of the map

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
    """What a convolution's norm multiplies each channel by, 1 without; None where unknown."""
    norm = conv.norm if conv.with_norm else nn.Identity()
    if isinstance(norm, nn.Identity):  # also where it is fused into the convolution
        return conv.conv.weight.new_ones(())
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or norm.running_var is None:
        return None
    scale = (norm.running_var + norm.eps).rsqrt()
    return scale if norm.weight is None else scale * norm.weight
