import torch
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.registry import MODELS

from .measured import Measured


@MODELS.register_module()
class RandomCells(nn.Module):
    """Uniformly random cells, other ones for each image: what any measure must beat.

    Drawn from torch's global generator, so ``torch.manual_seed`` repeats them.
    """

    def forward(
        self, coarse: torch.Tensor, head: nn.Module, data_samples: list[DataSample] | None = None
    ) -> Measured:
        """Draw a saliency map.

        Args:
            coarse: (N, D, s1, s2); only its shape counts.
            head: Not run.
            data_samples: Not read.

        Returns:
            Measured: The map, in [0, 1), float32; no entropy.
        """
        return Measured(torch.rand(coarse[:, 0].shape, device=coarse.device))
