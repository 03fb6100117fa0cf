"""Budgets that depend on the image."""

import math
from abc import ABC, abstractmethod

import torch

from mmdcn.models.patches.cells import PackedCells, pack
from mmdcn.registry import MODELS

from .top_k import TopKSelector


class AdaptiveSelector(TopKSelector, ABC):
    """Chooses the cells of highest saliency, of each image as many as its budget allows."""

    def forward(self, saliency: torch.Tensor, entropy: torch.Tensor | None = None) -> PackedCells:
        """Choose cells.

        Args:
            saliency: (N, s1, s2), ≥ 0.
            entropy: (N,), of the coarse prediction in nats, where the saliency hands it along.

        Returns:
            PackedCells: Of each image its most salient ones, those first.
        """
        ranked = super().forward(saliency)  # (N, k)
        return pack(ranked, self.budgets(saliency, entropy).clamp(max=ranked.size(1)))

    @abstractmethod
    def budgets(self, saliency: torch.Tensor, entropy: torch.Tensor | None) -> torch.Tensor:
        """Patches of each image, (N,) int64; more than k count as k."""


@MODELS.register_module()
class EntropySelector(AdaptiveSelector):
    """Looks again where the coarse prediction is uncertain.

    An image whose coarse entropy is at most ``threshold`` gets no patch and keeps its coarse
    answer. From there on the budget grows with the logarithm of the entropy, rounded up, and
    reaches k at ``full_threshold``; without one, all others get k.

    In training a patch that is the only one of its batch is left out: a batch norm can't train
    on a single vector.

    Args:
        k: Patches an image at most.
        threshold: Entropy in nats.
        full_threshold: Entropy in nats.

    Raises:
        TypeError: ``k`` is not an integer.
        ValueError: ``k`` or ``threshold`` is negative, or ``full_threshold`` not above a
            ``threshold`` above 0.
    """

    def __init__(self, *, k: int, threshold: float, full_threshold: float | None = None):
        super().__init__(k=k)
        if threshold < 0:
            raise ValueError(
                f'EntropySelector(threshold=...) is an entropy in nats and must be at '
                f'least 0, got {threshold}.'
            )
        if full_threshold is not None and not 0 < threshold < full_threshold:
            raise ValueError(
                'EntropySelector(full_threshold=...) must be above the threshold and that above 0, '
                f'got threshold={threshold} and full_threshold={full_threshold}: leave '
                'full_threshold out to give all k patches from the threshold on.'
            )
        self.threshold = threshold
        self.full_threshold = full_threshold

    def forward(self, saliency: torch.Tensor, entropy: torch.Tensor | None = None) -> PackedCells:
        image, cell, budgets = super().forward(saliency, entropy)
        if self.training and len(cell) == 1:
            return PackedCells(image[:0], cell[:0], [0] * len(budgets))
        return PackedCells(image, cell, budgets)

    def budgets(self, saliency: torch.Tensor, entropy: torch.Tensor | None) -> torch.Tensor:
        """Patches of each image, (N,) int64.

        Raises:
            TypeError: The saliency hands no entropy along.
        """
        if entropy is None:
            raise TypeError(
                'EntropySelector needs the entropy of the coarse prediction, which the '
                'saliency does not work out: use EntropyGradient.'
            )
        if self.full_threshold is None:
            return self.k * (entropy > self.threshold).long()
        # Rounding can leave a sure prediction an entropy just below 0.
        grown = (entropy.clamp(min=0) / self.threshold).log() / math.log(
            self.full_threshold / self.threshold
        )
        return (self.k * grown.clamp(0, 1)).ceil().long()

    def extra_repr(self) -> str:
        return f'k={self.k}, threshold={self.threshold}, full_threshold={self.full_threshold}'


@MODELS.register_module()
class MassSelector(AdaptiveSelector):
    """Looks at as many cells as hold a share of the image's saliency.

    The most salient cells are taken until their summed saliency is the given share of the sum
    over all cells, one at least.

    Args:
        k: Patches an image at most.
        share: Of the saliency, within (0, 1].

    Raises:
        TypeError: ``k`` is not an integer.
        ValueError: ``k`` is less than 1 or ``share`` is out of range.
    """

    def __init__(self, *, k: int, share: float):
        super().__init__(k=k)
        if k == 0:
            raise ValueError(
                'MassSelector(k=...) takes one patch of each image at least, got 0: '
                "set the selector's k to 1 or more."
            )
        if not 0 < share <= 1:
            raise ValueError(
                f'MassSelector(share=...) is a share of the saliency and must be '
                f'within (0, 1], got {share}.'
            )
        self.share = share

    def budgets(self, saliency: torch.Tensor, entropy: torch.Tensor | None) -> torch.Tensor:
        """Patches of each image, (N,) int64."""
        flat = saliency.flatten(1)
        wanted = self.share * flat.sum(dim=1, keepdim=True)
        held = flat.topk(min(self.k, flat.size(1)), dim=1).values.cumsum(dim=1)
        return 1 + (held[:, :-1] < wanted).sum(dim=1)

    def extra_repr(self) -> str:
        return f'k={self.k}, share={self.share}'
