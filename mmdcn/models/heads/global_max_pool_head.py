from typing import List, Optional, Tuple, Union

import torch
from mmcv.cnn import ConvModule
from mmpretrain.models.heads import ClsHead
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.registry import MODELS

Features = Union[torch.Tensor, Tuple[torch.Tensor, ...]]


@MODELS.register_module()
class GlobalMaxPoolHead(ClsHead):
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

    def __init__(self, *, num_classes: int, in_channels: int, mid_channels: int = 96,
                 kernel_size: int = 4, stride: int = 2, norm_cfg: dict = dict(type='BN'),
                 init_cfg: Optional[dict] = None, **kwargs):
        super().__init__(init_cfg=init_cfg, **kwargs)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.conv = ConvModule(in_channels, mid_channels, kernel_size, stride=stride,
                               norm_cfg=norm_cfg)
        self.fc = nn.Linear(mid_channels, num_classes)
        self._labels_checked = False

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
        if isinstance(feats, (tuple, list)):
            feats = feats[-1]
        if feats.size(1) != self.in_channels:
            raise ValueError(
                f'GlobalMaxPoolHead(in_channels={self.in_channels}) got a feature map of '
                f'{feats.size(1)} channels: set in_channels to what the tower gives.')
        kernel = self.conv.kernel_size
        if feats.size(2) < kernel[0] or feats.size(3) < kernel[1]:
            raise ValueError(
                f'GlobalMaxPoolHead needs a feature map of at least {kernel[0]}×{kernel[1]} '
                f'cells, got {feats.size(2)}×{feats.size(3)}: enlarge the image.')
        return self.conv(feats).amax(dim=(2, 3))

    def forward(self, feats: Features) -> torch.Tensor:
        """Feature map (N, D, h, w), or a tuple ending in it, -> logits (N, C)."""
        return self.fc(self.pre_logits(feats))

    def entropy(self, feats: Features) -> torch.Tensor:
        """Entropy H of the predicted distribution, in nats (eq. 2): -> (N,)."""
        log_p = self(feats).log_softmax(dim=1)
        return -(log_p.exp() * log_p).sum(dim=1)

    def loss(self, feats: Features, data_samples: List[DataSample], **kwargs) -> dict:
        """Cross-entropy (eq. 5) of a feature map: -> ``dict(loss=scalar)``.

        Raises:
            ValueError: A label of the first batch is not within [0, C).
        """
        if not self._labels_checked:  # once: reading labels back from a GPU waits for it
            self._check_labels(data_samples)
            self._labels_checked = True
        return super().loss(feats, data_samples, **kwargs)

    def _check_labels(self, data_samples: List[DataSample]) -> None:
        for sample in data_samples:
            for label in sample.get('gt_label', torch.empty(0)).tolist():
                if not 0 <= label < self.num_classes:
                    raise ValueError(
                        f'GlobalMaxPoolHead(num_classes={self.num_classes}) got the label '
                        f'{label}, which is not within 0..{self.num_classes - 1}: set '
                        "num_classes to the dataset's number of classes.")
