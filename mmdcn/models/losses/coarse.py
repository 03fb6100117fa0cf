"""The coarse model's own loss."""

import torch
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.models import by_size
from mmdcn.models.saliency.head_reading import evaluation_mode
from mmdcn.registry import MODELS
from mmdcn.structures import Glance
from mmdcn.structures.feature_map import features_of


@MODELS.register_module()
class CoarseLoss(nn.Module):
    """The head's loss of the coarse map alone, which trains the coarse prediction.

    The entropy of this prediction chooses cells, and with :class:`EntropySelector` also the number
    of patches. In the paper, nothing trains it by itself. As for the saliency, the head runs in
    evaluation mode, so that its running statistics are those of refined maps.

    Args:
        loss_weight: Factor of the loss, above 0.

    Raises:
        ValueError: ``loss_weight`` is not above 0.
    """

    share = 0.0  # takes no share of the gradient from the head's loss

    def __init__(self, *, loss_weight: float) -> None:
        super().__init__()
        if not loss_weight > 0:
            raise ValueError(
                f'CoarseLoss(loss_weight=...) must be above 0, got {loss_weight}: leave the loss '
                'out for none.'
            )
        self.loss_weight = loss_weight

    def forward(
        self, seen: Glance, head: nn.Module, data_samples: list[DataSample]
    ) -> dict[str, torch.Tensor]:
        """Return ``loss_coarse``, a scalar with a graph to the coarse tower and the head."""
        with evaluation_mode(head):
            losses = by_size.loss(head, features_of(seen.coarse), data_samples)
        return dict(loss_coarse=self.loss_weight * losses['loss'])

    def extra_repr(self) -> str:
        """Return the options, for printing the module."""
        return f'loss_weight={self.loss_weight}'
