import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import nn

from mmdcn.registry import MODELS

from .global_max_pool_head import scale_of_norm
from .global_pool_head import Features, GlobalPoolHead


@MODELS.register_module()
class GlobalSumPoolHead(GlobalPoolHead):
    """Adds up what the cells say, for labels that are a matter of number.

    A maximum knows that something is there; a sum knows how often (Aich and Stavness, *Global Sum
    Pooling*, 2018). A 1×1 convolution with batch norm and ReLU turns each cell into features; their
    squares are summed over all cells, layer norm and a linear layer follow. Takes any feature
    map, so it also sits on an MMPretrain backbone in an ``ImageClassifier``.

    Through a plain sum all cells get the same gradient. Through squares a cell gets it in
    proportion to its response, so that from the first step on the entropy's gradient (eqs. 2, 3)
    points at cells where something is. For the same reason the norm after the sum scales
    all features alike: batch norm there would lift those that only the empty cells have.

    Args:
        num_classes: Classes C.
        in_channels: Channels D of the feature map.
        mid_channels: Features of a cell.
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
        **kwargs,
    ):
        super().__init__(
            num_classes=num_classes, in_channels=in_channels, init_cfg=init_cfg, **kwargs
        )
        self.conv = ConvModule(in_channels, mid_channels, 1, norm_cfg=norm_cfg)
        self.norm = nn.LayerNorm(mid_channels)
        self.fc = nn.Linear(mid_channels, num_classes)

    def pre_logits(self, feats: Features) -> torch.Tensor:
        """The summed squares, normalised.

        Args:
            feats: A map (N, D, h, w), or a backbone's tuple, of which the last is taken.

        Returns:
            Tensor: (N, mid_channels).

        Raises:
            ValueError: The map has other channels than ``in_channels``.
        """
        # In mixed precision a CPU would add up hundreds of cells with eight bits.
        responses = self.conv(self._map(feats))
        responses = responses.to(torch.promote_types(responses.dtype, torch.float32))
        return self.norm(responses.square().sum(dim=(2, 3)))

    def entropy_and_gradient_norm(
        self, feats: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """:meth:`entropy` and the norm of its gradient in each cell, without a backward pass.

        −p (log p + H) goes back through the linear layer and the layer norm; each cell gets its
        share of it twice its response times, which is 0 where the ReLU is shut. In evaluation mode
        only.

        Args:
            feats: (N, D, h, w).

        Returns:
            tuple: (N,) and (N, h, w) without a graph, or None where the norm is no batch norm.
        """
        scale = scale_of_norm(self.conv)
        if scale is None:
            return None
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
