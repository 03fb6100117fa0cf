"""The head of Cluttered MNIST."""

from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import nn

from mmdcn.registry import MODELS
from mmdcn.structures import ChangedMap, last_map, parts_of
from mmdcn.structures.feature_map import Features
from mmdcn.structures.tables import looked_up

from .entropy import entropy_and_gradient_norm_by_autograd
from .global_pool_head import GlobalPoolHead

Pair = tuple[int, int]


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

    def pre_logits(self, feats: Features | ChangedMap) -> torch.Tensor:
        """Return the pooled features.

        Args:
            feats: A map (N, D, h, w), or a backbone's tuple of maps, whose last map is used; or the
                changes of a map that :meth:`look` has seen.

        Returns:
            Tensor: (N, mid_channels).

        Raises:
            ValueError: The number of channels is not ``in_channels``, or the map is smaller than
                the convolution's kernel.
        """
        if isinstance(feats, ChangedMap):
            return self._responses_after(feats).amax(dim=1).relu()
        return _peaks(self._responses(feats))[0]

    def _responses(self, feats: Features) -> torch.Tensor:
        """Return each filter's response to each window before the ReLU, (N, M, rows, columns)."""
        feats = self._map(feats)
        kernel = self.conv.kernel_size
        for part in parts_of(feats):
            if part.size(2) < kernel[0] or part.size(3) < kernel[1]:
                raise ValueError(
                    f'GlobalMaxPoolHead needs a feature map of at least {kernel[0]}×{kernel[1]} '
                    f'cells, got {part.size(2)}×{part.size(3)}: enlarge the image.'
                )
        return self.conv(feats, activate=False)

    def _responses_after(self, changed: ChangedMap) -> torch.Tensor:
        """Return the responses to a map with some new vectors, (N, rows · columns, M).

        A response is linear in the map, so a new vector adds its difference times the weights of
        its place in each window that contains it.
        """
        responses, cells, change = changed.kept, changed.cells, changed.change
        (number, channels, *windows), weight = responses.shape, self.conv.conv.weight
        added = F.linear(change, weight.permute(0, 2, 3, 1).flatten(0, 2))  # (P, M · kh · kw)
        scale: Any = scale_of_norm(self.conv)
        added = added.view(-1, channels, weight[0, 0].numel()).transpose(1, 2) * scale
        # The last row takes what belongs to no window.
        after = F.pad(responses.flatten(2).transpose(1, 2), (0, 0, 0, 1))
        (height, width), layer = cells.grid, (self.conv.kernel_size, self.conv.stride)
        rows = looked_up(
            _windows_around, cells.index, height * width, width, *layer, tuple(windows)
        )
        if number > 1:
            rows = rows + (cells.image * after.size(1)).unsqueeze(1)
        after.view(-1, channels).index_add_(0, rows.flatten(), added.flatten(0, 1).to(after.dtype))
        return after.narrow(1, 0, after.size(1) - 1)

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
        return self.look(feats)[:2]

    def look(self, feats: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return :meth:`entropy_and_gradient_norm`, and the responses to the map.

        From these, :meth:`pre_logits` computes those to the map with changed cells. So the
        convolution runs once in a DCN, not on the coarse and on the refined map.

        Args:
            feats: (N, D, h, w).

        Returns:
            tuple: (N,), (N, h, w) and (N, M, rows, columns), without a graph; None in place of the
            responses if the norm is not batch norm.
        """
        scale = scale_of_norm(self.conv)
        if scale is None:
            return (*entropy_and_gradient_norm_by_autograd(self, feats), None)
        with torch.no_grad():
            responses = self._responses(feats)
            peaks, windows = _peaks(responses)
            entropy, of_peaks = self._entropy_and_gradient(peaks)
            of_windows = of_peaks * scale * (peaks > 0)  # no gradient passes a ReLU at 0
            layer, size = self.conv.conv, (feats.size(2), feats.size(3))
            gradient = scatter_windows(of_windows, windows, layer.weight, layer.stride, size)
            return entropy, torch.linalg.vector_norm(gradient, dim=1), responses

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
        responses = self._responses(feats).relu().flatten(2)
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
    covered = (width + stride[1] - 1) // stride[1]  # blocks in a window's row
    blocks = (size[1] + stride[1] - 1) // stride[1]  # blocks in a row of the map

    weight = weight.permute(0, 2, 3, 1)
    if width < covered * stride[1]:
        weight = F.pad(weight, (0, 0, 0, covered * stride[1] - width))
    rows = torch.einsum('nm,mr->nmr', values, weight.flatten(1))

    down, across = (size[0] - height) // stride[0] + 1, (size[1] - width) // stride[1] + 1
    layer = (size, (height, width), stride)
    places = looked_up(_covered_blocks, windows.flatten(), down * across, *layer)
    if count > 1:
        of_image = torch.arange(count, device=values.device) * (size[0] * blocks)
        places = places.view(count, -1) + of_image.unsqueeze(1)
    gradient = values.new_zeros(count * size[0] * blocks, stride[1] * channels)
    gradient.index_add_(0, places.flatten(), rows.view(-1, gradient.size(1)))
    gradient = gradient.view(count, size[0], blocks * stride[1], channels)
    return gradient.narrow(2, 0, size[1]).permute(0, 3, 1, 2)


def _peaks(responses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each map's maximum, at least 0, and its cell: (N, M, h, w) -> (N, M)."""
    # Among cells with equal maxima one is taken, so each map's gradient has one cell.
    peaks, cells = F.adaptive_max_pool2d(responses, 1, return_indices=True)
    return peaks.flatten(1).relu(), cells.flatten(1)


def _covered_blocks(windows: torch.Tensor, size: Pair, kernel: Pair, stride: Pair) -> torch.Tensor:
    """Return the blocks of :func:`scatter_windows` that windows cover: (W,) -> (W, B) int64."""
    columns = (size[1] - kernel[1]) // stride[1] + 1  # windows in a row
    covered = (kernel[1] + stride[1] - 1) // stride[1]  # blocks in a window's row
    blocks = (size[1] + stride[1] - 1) // stride[1]  # blocks in a row of the map
    first = windows // columns * (stride[0] * blocks) + windows % columns
    across, down = (torch.arange(n, device=windows.device) for n in (covered, kernel[0]))
    return first.unsqueeze(1) + (down.unsqueeze(1) * blocks + across).flatten()


def _windows_around(
    cells: torch.Tensor, columns: int, kernel: Pair, stride: Pair, windows: Pair
) -> torch.Tensor:
    """Find the window that has a cell at each place of the kernel.

    Args:
        cells: (P,) int64, flat cells of a map.
        columns: Columns of the map.
        kernel: Rows and columns of a window.
        stride: Rows and columns between windows.
        windows: Rows and columns of windows.

    Returns:
        Tensor: (P, kernel rows · kernel columns) int64, flat windows; the number of windows where
        there is none.
    """
    found = []
    for axis, places in enumerate((cells // columns, cells % columns)):
        first = places.unsqueeze(1) - torch.arange(kernel[axis], device=cells.device)
        window = first // stride[axis]
        there = (first % stride[axis] == 0) & (window >= 0) & (window < windows[axis])
        found.append((window, there))
    (rows, in_rows), (across, in_columns) = found
    flat = rows.unsqueeze(2) * windows[1] + across.unsqueeze(1)
    there = in_rows.unsqueeze(2) & in_columns.unsqueeze(1)
    return torch.where(there, flat, windows[0] * windows[1]).flatten(1)


def scale_of_norm(conv: ConvModule) -> torch.Tensor | float | None:
    """Return the factors of a convolution's norm: 1 without a norm, None if they are unknown."""
    norm = conv.norm if conv.with_norm else nn.Identity()
    if isinstance(norm, nn.Identity):  # also if the norm is fused into the convolution
        return 1.0
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or norm.running_var is None:
        return None
    scale = (norm.running_var + norm.eps).rsqrt()
    return scale if norm.weight is None else scale * norm.weight
