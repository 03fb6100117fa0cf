"""Lets heads of MMPretrain read a feature map."""

from typing import Any

import torch
from mmengine.model import BaseModule
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.models.necks import GlobalAveragePooling
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.registry import MODELS
from mmdcn.structures import last_map
from mmdcn.structures.feature_map import Features

from .softmax import check_trains_softmax


@MODELS.register_module()
class MapHead(BaseModule):
    """Reads a feature map with any neck and head of MMPretrain, as ``ImageClassifier`` does.

    So a trained classifier can be the coarse model of a DCN without any change. Its backbone
    becomes the coarse tower, its neck and head go here, and ``init_cfg`` loads their weights from
    the classifier's checkpoint.

    If the neck is a global average, the entropy has the same gradient in every cell; use
    :class:`ClassActivation` as the saliency.

    Args:
        in_channels: Channels D of the feature map.
        head: Config or module, such as ``dict(type='LinearClsHead', ...)``.
        neck: Config or module, such as ``dict(type='GlobalAveragePooling')``; None if the head
            reads the map itself.
        init_cfg: MMEngine's initialisation.

    Raises:
        ValueError: The head predicts a softmax, and its loss trains something else.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        head: dict | nn.Module,
        neck: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.in_channels = in_channels
        self.neck: Any = MODELS.build(neck) if isinstance(neck, dict) else neck
        self.head: Any = MODELS.build(head) if isinstance(head, dict) else head
        loss = getattr(self.head, 'loss_module', None)
        classes = getattr(self.head, 'num_classes', None)
        softmax = not isinstance(self.head, MultiLabelClsHead)
        if softmax and loss is not None and classes is not None:
            check_trains_softmax(loss, classes, type(self.head).__name__)

    def _pooled(self, feats: Features) -> tuple[torch.Tensor, ...]:
        """Check the map's channels and return what the head takes."""
        feature_map = last_map(feats)
        if feature_map.size(1) != self.in_channels:
            raise ValueError(
                f'MapHead(in_channels={self.in_channels}) got a feature map of '
                f'{feature_map.size(1)} channels: set in_channels to what the tower gives.'
            )
        return (feature_map,) if self.neck is None else self.neck((feature_map,))

    def forward(self, feats: Features) -> torch.Tensor:
        """Return logits (N, C) of a feature map (N, D, h, w), or of a tuple's last map."""
        return self.head(self._pooled(feats))

    def entropy(self, feats: Features) -> torch.Tensor:
        """Return the entropy of the predicted distribution over classes, in nats, (N,).

        Raises:
            ValueError: The head predicts many labels, which have no common distribution.
        """
        if isinstance(self.head, MultiLabelClsHead):
            raise ValueError(
                f'{type(self.head).__name__} predicts labels apart from each other, so there is no '
                'distribution over classes to take the entropy of: use ClassActivation.'
            )
        log_p = self(feats).log_softmax(dim=1)
        return -(log_p.exp() * log_p).sum(dim=1)

    def class_activation(self, feats: Features) -> torch.Tensor:
        """Return each cell's evidence for the predicted class (Zhou et al., CVPR 2016, eq. 2).

        Args:
            feats: (N, D, h, w), or a tuple whose last map has this shape.

        Returns:
            Tensor: (N, h, w), the features times the weights of the predicted class.

        Raises:
            ValueError: The neck is not a global average, or the head has no linear layer ``fc``.
        """
        layer = getattr(self.head, 'fc', None)
        if not isinstance(self.neck, GlobalAveragePooling) or not isinstance(layer, nn.Linear):
            raise ValueError(
                'The class activation of a MapHead is known where its neck is '
                'GlobalAveragePooling and its head has one linear layer fc, as LinearClsHead has: '
                'take these, or another saliency.'
            )
        predicted = self(feats).argmax(dim=1)
        return torch.einsum('nd,ndhw->nhw', layer.weight[predicted], last_map(feats))

    def loss(self, feats: Features, data_samples: list[DataSample], **kwargs: Any) -> dict:
        """Return the head's losses of a feature map."""
        return self.head.loss(self._pooled(feats), data_samples, **kwargs)

    def predict(
        self, feats: Features, data_samples: list[DataSample] | None = None
    ) -> list[DataSample]:
        """Put the head's predictions on the data samples."""
        return self.head.predict(self._pooled(feats), data_samples)
