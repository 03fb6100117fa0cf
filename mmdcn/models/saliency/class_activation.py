from typing import List, Optional

import torch
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.registry import MODELS

from .entropy_gradient import evaluation_mode
from .measured import Measured


@MODELS.register_module()
class ClassActivation(nn.Module):
    """How much each cell speaks for the predicted class, without a backward pass.

    Class activation maps (Zhou et al., CVPR 2016); how a map comes about is the head's. It
    runs in evaluation mode, in float32 at least, also under autocast.
    """

    def forward(self, coarse: torch.Tensor, head: nn.Module,
                data_samples: Optional[List[DataSample]] = None) -> Measured:
        """Compute the saliency map.

        Args:
            coarse: (N, D, s1, s2).
            head: A module with ``class_activation(feats) -> (N, s1, s2)``, ≥ 0.
            data_samples: Not read.

        Returns:
            Measured: The map, no entropy.

        Raises:
            TypeError: The head has no ``class_activation``.
        """
        if not hasattr(head, 'class_activation'):
            raise TypeError(f'ClassActivation needs a head with class_activation(feats) -> '
                            f'(N, s1, s2), which {type(head).__name__} lacks: use '
                            'GlobalMaxPoolHead or add it.')
        with evaluation_mode(head), torch.no_grad(), \
                torch.autocast(coarse.device.type, enabled=False):
            feats = coarse.detach().to(torch.promote_types(coarse.dtype, torch.float32))
            return Measured(head.class_activation(feats))
