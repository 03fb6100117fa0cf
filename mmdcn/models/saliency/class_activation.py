import torch
from torch import nn

from mmdcn.registry import MODELS

from .head_reading import HeadReading
from .measured import Measured


@MODELS.register_module()
class ClassActivation(HeadReading):
    """How much each cell speaks for the predicted class, without a backward pass.

    Class activation maps (Zhou et al., CVPR 2016); how a map comes about is the head's.

    Args:
        head: As in :class:`HeadReading`.
    """

    question = 'class_activation'
    known_by = 'GlobalMaxPoolHead'

    def ask(self, head: nn.Module, feats: torch.Tensor) -> Measured:
        """The head's ``class_activation(feats) -> (N, s1, s2)``."""
        return Measured(head.class_activation(feats))
