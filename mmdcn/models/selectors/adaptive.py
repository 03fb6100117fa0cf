"""Selectors whose number of patches depends on the image."""

import math
from abc import ABC, abstractmethod

import torch

from mmdcn.registry import MODELS
from mmdcn.structures import Cells, Measured

from .top_k import TopKSelector


class AdaptiveSelector(TopKSelector, ABC):
    """Base class of selectors that choose the most salient cells within each image's budget.

    Args:
        k: The largest number of patches per image.
        adapts_in_training: If False, each image gets k patches in training.
    """

    adaptive = True

    def __init__(self, *, k: int, adapts_in_training: bool = True) -> None:
        super().__init__(k=k)
        self.adapts_in_training = adapts_in_training

    def forward(self, measured: Measured) -> Cells:
        """Choose the most salient cells of each image's saliency map, (N, s1, s2)."""
        if self.training and not self.adapts_in_training:
            return super().forward(measured)
        ranked = self.rank(measured.saliency)  # (N, k)
        budgets = self.budgets(measured).clamp(max=ranked.size(1))
        return Cells.budgeted(ranked, budgets, measured.grid)

    @abstractmethod
    def budgets(self, measured: Measured) -> torch.Tensor:
        """Return the number of patches of each image, (N,) int64; more than k count as k."""


@MODELS.register_module()
class EntropySelector(AdaptiveSelector):
    """Gives patches to images whose coarse prediction is uncertain.

    An image whose coarse entropy is at most ``threshold`` gets no patch and keeps its coarse
    answer. Above it, the budget grows with the logarithm of the entropy, rounded up, and reaches k
    at ``full_threshold``. Without ``full_threshold``, all other images get k patches.

    Args:
        k: The largest number of patches per image.
        threshold: Entropy in nats up to which an image gets no patch.
        full_threshold: Entropy in nats from which on an image gets k patches.
        adapts_in_training: If False, each image gets k patches in training.

    Raises:
        TypeError: ``k`` is not an integer.
        ValueError: ``k`` or ``threshold`` is negative, or not 0 < ``threshold`` <
            ``full_threshold`` where the latter is given.
    """

    needs_entropy = True

    def __init__(
        self,
        *,
        k: int,
        threshold: float,
        full_threshold: float | None = None,
        adapts_in_training: bool = True,
    ) -> None:
        super().__init__(k=k, adapts_in_training=adapts_in_training)
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

    def budgets(self, measured: Measured) -> torch.Tensor:
        """Return the number of patches of each image, (N,) int64.

        Raises:
            ValueError: The saliency gives no entropy.
        """
        entropy = measured.entropy
        if entropy is None:
            raise ValueError(
                'EntropySelector needs the entropy of the coarse prediction, which the '
                'saliency does not compute: use EntropyGradient.'
            )
        if self.full_threshold is None:
            return self.k * (entropy > self.threshold).long()
        # Rounding can make the entropy of a certain prediction slightly negative.
        grown = (entropy.clamp(min=0) / self.threshold).log() / math.log(
            self.full_threshold / self.threshold
        )
        return (self.k * grown.clamp(0, 1)).ceil().long()

    def extra_repr(self) -> str:
        """Return the options, for printing the module."""
        return f'k={self.k}, threshold={self.threshold}, full_threshold={self.full_threshold}'


@MODELS.register_module()
class MassSelector(AdaptiveSelector):
    """Chooses as many cells as are needed to hold a given share of the image's saliency.

    The most salient cells are taken until their summed saliency reaches this share of the sum over
    all cells. Each image gets at least one.

    Args:
        k: The largest number of patches per image.
        share: Share of the saliency, within (0, 1].
        adapts_in_training: If False, each image gets k patches in training.

    Raises:
        TypeError: ``k`` is not an integer.
        ValueError: ``k`` is less than 1 or ``share`` is out of range.
    """

    def __init__(self, *, k: int, share: float, adapts_in_training: bool = True) -> None:
        super().__init__(k=k, adapts_in_training=adapts_in_training)
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

    def budgets(self, measured: Measured) -> torch.Tensor:
        """Return the number of patches of each image, (N,) int64."""
        flat = measured.saliency.flatten(1)
        wanted = self.share * flat.sum(dim=1, keepdim=True)
        held = flat.gather(1, self.rank(measured.saliency)).cumsum(dim=1)
        return 1 + (held[:, :-1] < wanted).sum(dim=1)

    def extra_repr(self) -> str:
        """Return the options, for printing the module."""
        return f'k={self.k}, share={self.share}'
