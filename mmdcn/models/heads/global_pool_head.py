from typing import Union

import torch
from mmpretrain.models.heads import ClsHead
from mmpretrain.structures import DataSample

Features = Union[torch.Tensor, tuple[torch.Tensor, ...]]


class GlobalPoolHead(ClsHead):
    """What heads share that pool a map of any size and end in a linear layer ``fc``.

    Args:
        num_classes: Classes C.
        in_channels: Channels D of the feature map.
        init_cfg: MMEngine's initialisation.
        **kwargs: ``loss``, ``topk`` and ``cal_acc`` of MMPretrain's ``ClsHead``.
    """

    def __init__(
        self, *, num_classes: int, in_channels: int, init_cfg: dict | None = None, **kwargs
    ):
        super().__init__(init_cfg=init_cfg, **kwargs)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self._labels_checked = False

    def _map(self, feats: Features) -> torch.Tensor:
        """The map itself, or the last of a backbone's tuple; it must have D channels."""
        if isinstance(feats, (tuple, list)):
            feats = feats[-1]
        if feats.size(1) != self.in_channels:
            raise ValueError(
                f'{type(self).__name__}(in_channels={self.in_channels}) got a feature map of '
                f'{feats.size(1)} channels: set in_channels to what the tower gives.'
            )
        return feats

    def forward(self, feats: Features) -> torch.Tensor:
        """Feature map (N, D, h, w), or a tuple ending in it, -> logits (N, C)."""
        return self.fc(self.pre_logits(feats))

    def entropy(self, feats: Features) -> torch.Tensor:
        """Entropy H of the predicted distribution, in nats (eq. 2): -> (N,)."""
        log_p = self(feats).log_softmax(dim=1)
        return -(log_p.exp() * log_p).sum(dim=1)

    def _entropy_and_gradient(self, pooled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of what goes into ``fc``, (N, M): the entropy (N,) and −p (log p + H) through ``fc``."""
        log_p = self.fc(pooled).log_softmax(dim=1)
        p = log_p.exp()
        entropy = -(p * log_p).sum(dim=1, keepdim=True)
        return entropy.squeeze(1), torch.mm(-p * (log_p + entropy), self.fc.weight)

    def loss(self, feats: Features, data_samples: list[DataSample], **kwargs) -> dict:
        """Cross-entropy (eq. 5) of a feature map: -> ``dict(loss=scalar)``.

        Raises:
            ValueError: A label of the first batch is not within [0, C).
        """
        if not self._labels_checked:  # once: reading labels back from a GPU waits for it
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
