from typing import List, Optional, Union

import torch
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.registry import MODELS

from .entropy_gradient import evaluation_mode
from .measured import Measured


@MODELS.register_module()
class InverseEntropy(BaseModule):
    """How sure the coarse model is at each cell, without a backward pass.

    What soft attention weighs by (eq. 13), taken to choose patches. The gradient of the entropy
    (eqs. 2, 3) passes each cell's softmax, which lets nothing through where the cell is sure; with
    towers trained on well-centred images alone that is where the number is.

    Args:
        head: A head for the coarse map, config or module, where the DCN's own reads fine
            features only (§4.2.2). It comes trained, by ``init_cfg``, and is not trained here.
    """

    def __init__(self, *, head: Optional[Union[dict, nn.Module]] = None):
        super().__init__()
        self.head = MODELS.build(head) if isinstance(head, dict) else head
        if self.head is not None:
            self.head.requires_grad_(False)

    def forward(self, coarse: torch.Tensor, head: nn.Module,
                data_samples: Optional[List[DataSample]] = None) -> Measured:
        """Compute the saliency map.

        Args:
            coarse: (N, D, s1, s2).
            head: A module with ``certainty(feats) -> (N, s1, s2)``, ≥ 0; the one given at
                construction goes first.
            data_samples: Not read.

        Returns:
            Measured: The map, no entropy.

        Raises:
            TypeError: The head has no ``certainty``.
        """
        head = head if self.head is None else self.head
        if not hasattr(head, 'certainty'):
            raise TypeError(f'InverseEntropy needs a head with certainty(feats) -> (N, s1, s2), '
                            f'which {type(head).__name__} lacks: use SequenceHead or add it.')
        with evaluation_mode(head), torch.no_grad(), \
                torch.autocast(coarse.device.type, enabled=False):
            feats = coarse.detach().to(torch.promote_types(coarse.dtype, torch.float32))
            return Measured(head.certainty(feats))
