from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.registry import MODELS

from .measured import Measured


class HeadReading(BaseModule):
    """A measure that asks a head about the coarse map.

    The head runs on the detached coarse map in evaluation mode, so images of a batch don't
    touch each other, no running statistic moves and no weight receives a gradient. The
    pass is in float32 at least, also under autocast.

    Args:
        head: A head for the coarse map, config or module, where the DCN's own reads fine
            features only (§4.2.2). It comes trained, by ``init_cfg``, and is not trained here.
    """

    question: str  # the head's method
    known_by: str  # a head that has it

    def __init__(self, *, head: dict | nn.Module | None = None):
        super().__init__()
        self.head = MODELS.build(head) if isinstance(head, dict) else head
        if self.head is not None:
            self.head.requires_grad_(False)

    def forward(
        self, coarse: torch.Tensor, head: nn.Module, data_samples: list[DataSample] | None = None
    ) -> Measured:
        """Compute the saliency map.

        Args:
            coarse: (N, D, s1, s2).
            head: The DCN's head; the one given at construction goes first.
            data_samples: Not read.

        Returns:
            Measured: The map and, from a measure that works it out, the entropy.

        Raises:
            TypeError: The head lacks the method that the measure asks.
        """
        head = head if self.head is None else self.head
        if not hasattr(head, self.question):
            raise TypeError(
                f'{type(self).__name__} needs a head with {self.question}(feats), '
                f'which {type(head).__name__} lacks: use {self.known_by} or add it.'
            )
        feats = coarse.detach().to(torch.promote_types(coarse.dtype, torch.float32))
        with (
            evaluation_mode(head),
            torch.no_grad(),
            torch.autocast(coarse.device.type, enabled=False),
        ):
            return self.ask(head, feats)

    @abstractmethod
    def ask(self, head: nn.Module, feats: torch.Tensor) -> Measured:
        """Measure (N, D, s1, s2) features, without gradients."""


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode and give each submodule its own mode back."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
