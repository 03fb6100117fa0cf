"""A selector with the same number of patches for all images."""

import logging

import torch
from mmengine.logging import print_log
from torch import nn

from mmdcn.registry import MODELS
from mmdcn.structures import Cells, Measured
from mmdcn.structures.tables import jit_traces


@MODELS.register_module()
class TopKSelector(nn.Module):
    """Chooses the k cells of highest saliency, I^s (§2.1).

    Args:
        k: Patches per image. 0 leaves the coarse model. If a map has fewer than k cells, all are
            taken, and the log says so once.

    Raises:
        TypeError: ``k`` is not an integer.
        ValueError: ``k`` is negative.
    """

    adaptive = False
    needs_entropy = False

    def __init__(self, *, k: int) -> None:
        super().__init__()
        name = type(self).__name__
        if not isinstance(k, int) or isinstance(k, bool):
            raise TypeError(
                f'{name}(k=...) counts patches and must be an integer, got '
                f"{k!r}: set the selector's k to a whole number such as 8."
            )
        if k < 0:
            raise ValueError(
                f'{name}(k=...) counts patches and must be at least 0, got {k}: '
                "set the selector's k to 0 for the coarse model, or to more."
            )
        self.k = k
        self._said_all = False

    def forward(self, measured: Measured) -> Cells:
        """Choose cells of the saliency map (N, s1, s2), highest saliency first."""
        return Cells.fixed(self.rank(measured.saliency), measured.grid)

    def rank(self, saliency: torch.Tensor) -> torch.Tensor:
        """Return the k most salient cells first: (N, s1, s2) -> flat row-major (N, k) int64."""
        flat = saliency.flatten(1)
        if not (torch.compiler.is_compiling() or self._said_all) and self.k > flat.size(1):
            print_log(
                f'{type(self).__name__}(k={self.k}): the coarse map has {flat.size(1)} cells '
                'only; all are taken.',
                logger='current',
                level=logging.WARNING,
            )
            self._said_all = True
        cells = flat.size(1)
        if jit_traces():
            cells = int(cells)
        return flat.topk(torch.sym_min(self.k, cells), dim=1).indices

    def with_budget(self, k: int) -> 'TopKSelector':
        """Return a selector that gives each image k patches."""
        return TopKSelector(k=k)

    def extra_repr(self) -> str:
        """Return the options, for printing the module."""
        return f'k={self.k}'
