"""Contracts between the parts of a model.

A part needs no base class: it only needs the attributes and methods that its contract names.
:func:`owes` checks the contracts when a model is built. Letters: N images, D channels of the coarse
map, s1×s2 cells, P chosen cells in all.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.structures import Cells, Glance, Measured, Windows
from mmdcn.structures.feature_map import Features


@runtime_checkable
class Saliency(Protocol):
    """Says how much each cell of the coarse map matters.

    Attributes:
        needs_truth: Whether it reads true boxes or labels from the data samples.
        draws: Whether it draws at random.
        gives_entropy: Whether it also returns the entropy of the coarse prediction.
    """

    needs_truth: bool
    draws: bool
    gives_entropy: bool

    def check(self, head: nn.Module) -> None:
        """Raise a ``ValueError`` if the model's head cannot answer what this saliency asks."""

    def __call__(
        self, coarse: torch.Tensor, head: nn.Module, data_samples: list[DataSample] | None
    ) -> Measured:
        """Measure the coarse map (N, D, s1, s2)."""


@runtime_checkable
class Selector(Protocol):
    """Chooses cells.

    Attributes:
        k: The most patches an image gets.
        adaptive: Whether the number of patches differs between images; otherwise each gets k.
        needs_entropy: Whether it reads the coarse prediction's entropy.
    """

    k: int
    adaptive: bool
    needs_entropy: bool

    def with_budget(self, k: int) -> 'Selector':
        """Return a selector that gives each image k patches."""

    def __call__(self, measured: Measured) -> Cells:
        """Choose cells, the most salient first."""


@runtime_checkable
class Grid(Protocol):
    """Maps each cell to the pixels of its patch.

    Attributes:
        size: Height and width of a patch, in pixels.
        stride: Pixels between the patches of neighbouring cells, down and across.
        offset: Top and left pixel of the patch of cell (0, 0).
    """

    size: tuple[int, int]
    stride: tuple[float, float]
    offset: tuple[float, float]

    def __call__(self, cells: Cells) -> Windows:
        """Return the windows of chosen cells."""


@runtime_checkable
class Neck(Protocol):
    """Joins the coarse map and the fine features.

    Attributes:
        takes_vectors: Whether it needs one vector per patch, with the coarse map's channels.
        takes_budgets: Whether the number of patches may differ between images and may be 0. Without
            any patch, the fine features are (0, D).
        swaps: Optional. Whether the result is the coarse map with the fine vectors in place of the
            chosen cells' own, so that a head may read these changes alone.
    """

    takes_vectors: bool
    takes_budgets: bool

    def __call__(self, coarse: torch.Tensor, fine: torch.Tensor, cells: Cells) -> Any:
        """Join (N, D, s1, s2) and (P, D) or (P, D, h, w) into what the head takes."""


@runtime_checkable
class Loss(Protocol):
    """Adds terms beside the head's loss.

    Attributes:
        share: λ in [0, 1]: the share of the coarse tower's gradient that it takes over from the
            head's loss. It is 0 for a loss that is simply added, or for a figure in the log.
    """

    share: float

    def __call__(
        self, seen: Glance, head: nn.Module, data_samples: list[DataSample]
    ) -> Mapping[str, torch.Tensor]:
        """Return terms by name; training minimises the sum of those with ``loss`` in the name."""


@runtime_checkable
class HasEntropy(Protocol):
    """A head that knows the entropy of its prediction."""

    def entropy(self, feats: Features) -> torch.Tensor:
        """Return the entropy (N,), in nats, with a graph."""


@runtime_checkable
class KnowsEntropyGradient(Protocol):
    """A head that knows the entropy's gradient without a backward pass."""

    def entropy_and_gradient_norm(self, feats: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the entropy (N,) and its gradient's norm per cell (N, s1, s2), without a graph."""


@runtime_checkable
class ReadsChanges(KnowsEntropyGradient, Protocol):
    """A head that reads changes of a map instead of the whole map, if this is the same.

    It takes a :class:`~mmdcn.structures.ChangedMap` wherever it takes features.
    """

    def look(self, feats: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """Return the entropy, its gradient's norm, and what to keep of (N, D, s1, s2) features.

        It keeps None if a change of a few cells changes all that it computes.
        """


@runtime_checkable
class HasClassActivation(Protocol):
    """A head that knows the evidence of each cell for the predicted class."""

    def class_activation(self, feats: Features) -> torch.Tensor:
        """Return the evidence of each cell, (N, s1, s2)."""


@runtime_checkable
class HasCertainty(Protocol):
    """A head that predicts in each cell and knows how sure it is there."""

    def certainty(self, feats: Features) -> torch.Tensor:
        """Return the certainty in each cell, (N, s1, s2), ≥ 0."""


def owes(part: object, contract: type, role: str) -> None:
    """Check that a part keeps a contract.

    Args:
        part: The built part.
        contract: A contract of this module.
        role: The name of the part in a config.

    Raises:
        ValueError: The part lacks something; the message says what.
    """
    if isinstance(part, contract):
        return
    names = {*vars(contract), *getattr(contract, '__annotations__', {})}
    lacking = sorted(
        name
        for name in names
        if (not name.startswith('_') or name == '__call__') and not hasattr(part, name)
    )
    raise ValueError(
        f'{type(part).__name__} cannot be the {role} of a DCN, because it lacks '
        f'{", ".join(lacking)}: see {contract.__name__} in mmdcn.models.contracts.'
    )
