"""Base class of heads that pool a map."""

from typing import Any

import torch
from mmpretrain.models.heads import ClsHead
from mmpretrain.structures import DataSample

from mmdcn.structures import last_map
from mmdcn.structures.feature_map import Features

from .softmax import check_trains_softmax


class GlobalPoolHead(ClsHead):
    """Base class of heads that pool a map of any size and end in a linear layer ``fc``.

    Args:
        num_classes: Classes C.
        in_channels: Channels D of the feature map.
        init_cfg: MMEngine's initialisation.
        **kwargs: ``loss``, ``topk`` and ``cal_acc`` of MMPretrain's ``ClsHead``.

    Raises:
        ValueError: The loss does not train a softmax over the classes.
    """

    def __init__(
        self, *, num_classes: int, in_channels: int, init_cfg: dict | None = None, **kwargs: Any
    ) -> None:
        super().__init__(init_cfg=init_cfg, **kwargs)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self._labels_checked = False
        check_trains_softmax(self.loss_module, num_classes, type(self).__name__)

    def _map(self, feats: Features) -> torch.Tensor:
        """Return the map, or the last map of a backbone's tuple, and check its D channels."""
        feats = last_map(feats)
        if feats.size(1) != self.in_channels:
            raise ValueError(
                f'{type(self).__name__}(in_channels={self.in_channels}) got a feature map of '
                f'{feats.size(1)} channels: set in_channels to what the tower gives.'
            )
        return feats

    def forward(self, feats: Features) -> torch.Tensor:
        """Return logits (N, C) of a feature map (N, D, h, w), or of a tuple's last map."""
        return self.fc(self.pre_logits(feats))

    def entropy(self, feats: Features) -> torch.Tensor:
        """Return the entropy H of the predicted distribution, in nats (eq. 2), (N,)."""
        log_p = self(feats).log_softmax(dim=1)
        return -(log_p.exp() * log_p).sum(dim=1)

    def _entropy_and_gradient(self, pooled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the entropy (N,) and its gradient at the input (N, M) of ``fc``."""
        log_p = self.fc(pooled).log_softmax(dim=1)
        p = log_p.exp()
        entropy = -(p * log_p).sum(dim=1, keepdim=True)
        return entropy.squeeze(1), torch.mm(-p * (log_p + entropy), self.fc.weight)

    def loss(self, feats: Features, data_samples: list[DataSample], **kwargs: Any) -> dict:
        """Return the cross-entropy (eq. 5) of a feature map as ``dict(loss=scalar)``.

        Raises:
            ValueError: A label of the first batch is not within [0, C).
        """
        if not self._labels_checked:  # only once, because reading labels from a GPU waits for it
            self._check_labels(data_samples)
            self._labels_checked = True
        return super().loss(feats, data_samples, **kwargs)

    def _check_labels(self, data_samples: list[DataSample]) -> None:
        for sample in data_samples:
            for label in sample.get('gt_label', torch.empty(0)).tolist():
                if not 0 <= label < self.num_classes:
                    raise ValueError(
                        f'{type(self).__name__}(num_classes={self.num_classes}) got the label '
                        f'{label}, which is not within 0..{self.num_classes - 1}: set '
                        "num_classes to the dataset's number of classes."
                    )
