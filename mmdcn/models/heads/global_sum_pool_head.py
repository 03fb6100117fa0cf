"""A head that counts."""

from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import nn

from mmdcn.registry import MODELS
from mmdcn.structures.feature_map import Features

from .entropy import entropy_and_gradient_norm_by_autograd
from .global_max_pool_head import scale_of_norm
from .global_pool_head import GlobalPoolHead


@MODELS.register_module()
class GlobalSumPoolHead(GlobalPoolHead):
    """Sums features over all cells, for labels that depend on how many objects there are.

    A maximum tells whether something is there; a sum tells how often (Aich and Stavness, *Global
    Sum Pooling*, 2018). A 1×1 convolution with batch norm and ReLU turns each cell into features.
    Their squares are summed over all cells; layer norm and a linear layer follow. The head takes
    any feature map, so it also works on an MMPretrain backbone in an ``ImageClassifier``.

    A plain sum would give all cells the same gradient. With squares, a cell's gradient is
    proportional to its response, so the entropy's gradient (eqs. 2, 3) points at cells with content
    from the first step on. The norm after the sum is layer norm for the same reason: it scales all
    features alike, while batch norm would amplify features that only empty cells have.

    Args:
        num_classes: Classes C.
        in_channels: Channels D of the feature map.
        mid_channels: Number of features of a cell.
        norm_cfg: Normalisation after the convolution.
        init_cfg: MMEngine's initialisation.
        **kwargs: ``loss``, ``topk`` and ``cal_acc`` of MMPretrain's ``ClsHead``.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        mid_channels: int = 64,
        norm_cfg: dict = dict(type='BN'),
        init_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes=num_classes, in_channels=in_channels, init_cfg=init_cfg, **kwargs
        )
        self.conv = ConvModule(in_channels, mid_channels, 1, norm_cfg=norm_cfg)
        self.norm = nn.LayerNorm(mid_channels)
        self.fc = nn.Linear(mid_channels, num_classes)

    def pre_logits(self, feats: Features) -> torch.Tensor:
        """Return the normalised sums of squares.

        Args:
            feats: A map (N, D, h, w), or a backbone's tuple of maps, whose last map is used.

        Returns:
            Tensor: (N, mid_channels).

        Raises:
            ValueError: The number of channels is not ``in_channels``.
        """
        # In mixed precision, a CPU would add up hundreds of cells with only eight bits.
        responses = self.conv(self._map(feats))
        responses = responses.to(torch.promote_types(responses.dtype, torch.float32))
        total = responses.square().sum(dim=(2, 3))
        norm = self.norm  # its weights may be of half precision
        normed = F.layer_norm(
            total, norm.normalized_shape, norm.weight.to(total), norm.bias.to(total), norm.eps
        )
        return normed.to(self.fc.weight)

    def entropy_and_gradient_norm(self, feats: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return :meth:`entropy` and its gradient's norm in each cell, without a backward pass.

        The gradient −p (log p + H) goes back through the linear layer and the layer norm. Each
        cell multiplies it by twice its response, which is 0 where the ReLU is 0. This holds in
        evaluation mode only.

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
            responses = self.conv(self._map(feats))  # (N, mid_channels, h, w)
            total = responses.square().sum(dim=(2, 3))
            entropy, of_features = self._entropy_and_gradient(self.norm(total))
            of_normed = of_features * self.norm.weight
            normed = F.layer_norm(total, self.norm.normalized_shape, eps=self.norm.eps)
            spread = (total.var(dim=1, correction=0, keepdim=True) + self.norm.eps).sqrt()
            of_total = (
                of_normed
                - of_normed.mean(dim=1, keepdim=True)
                - normed * (of_normed * normed).mean(dim=1, keepdim=True)
            )
            of_responses = (2 * scale * of_total / spread)[:, :, None, None] * responses
            gradient = F.conv_transpose2d(of_responses, self.conv.conv.weight)
            return entropy, torch.linalg.vector_norm(gradient, dim=1)
