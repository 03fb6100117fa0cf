"""Saliencies that ask a head about the coarse map."""

import copy
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmpretrain.structures import DataSample
from torch import nn

from mmdcn.registry import MODELS
from mmdcn.structures import Measured

from .base import BaseSaliency

TRIAL_CELLS = 32  # height and width of the trial map for a head; larger than any head's window


class HeadReading(BaseSaliency):
    """Base class of saliencies that ask a head about the coarse map.

    The head runs on the detached coarse map in evaluation mode. So images of a batch do not
    influence each other, running statistics do not change, and weights get no gradient. The pass
    runs in float32 or float64, also under autocast and in a model of half precision.

    Args:
        head: A head for the coarse map, config or module. It is needed if the DCN's own head reads
            fine features only (§4.2.2). Its ``init_cfg`` loads trained weights; it is not trained
            here.
    """

    asks: type = nn.Module  # the contract that the head must keep
    known_by = ''  # heads that keep it, for the error message
    why_alike = 'it says the same of all cells, so choose another saliency.'

    def __init__(self, *, head: dict | nn.Module | None = None) -> None:
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
            head: The DCN's head. A head given at construction is used instead.
            data_samples: Not read.

        Returns:
            Measured: The map and, if it is computed, the entropy. What the head keeps is passed on
            if the model would compute the same from the refined map.
        """
        reusable = self.head is None and not head.training and not torch.is_grad_enabled()
        head = head if self.head is None else self.head
        feats = coarse.detach().to(torch.promote_types(coarse.dtype, torch.float32))
        with (
            evaluation_mode(head),
            torch.no_grad(),
            torch.autocast(coarse.device.type, enabled=False),
        ):
            asked = _in_single_precision(head)
            measured = self.ask(asked, feats)
        return measured if reusable and asked is head else measured._replace(kept=None)

    @abstractmethod
    def ask(self, head: Any, feats: torch.Tensor) -> Measured:
        """Measure (N, D, s1, s2) features, without gradients."""

    def check(self, head: nn.Module) -> None:
        """Check that the head can answer, by asking it about a random map.

        Args:
            head: The DCN's head. A head given at construction is used instead.

        Raises:
            ValueError: It cannot answer, or it gives all cells the same value.
        """
        head = head if self.head is None else self.head
        if not isinstance(head, self.asks):
            raise ValueError(
                f'{type(self).__name__} needs a head that keeps the contract '
                f'{self.asks.__name__} of mmdcn.models.contracts, which {type(head).__name__} '
                f'does not: use {self.known_by}.'
            )
        channels = getattr(head, 'in_channels', None)
        weight = next(head.parameters(), None)
        if not isinstance(channels, int) or weight is None or weight.is_meta:
            return
        generator = torch.Generator().manual_seed(0)
        feats = torch.rand(1, channels, TRIAL_CELLS, TRIAL_CELLS, generator=generator)
        # In float64, because a trained head may be so sure of a map that all vanishes in float32.
        exact = copy.deepcopy(head).double()
        exact.eval()
        with torch.no_grad():
            saliency = self.ask(exact, feats.to(weight.device, torch.float64)).saliency
        if torch.allclose(saliency, saliency[:, :1, :1], rtol=1e-4, atol=0):
            raise ValueError(
                f'{type(self).__name__} cannot tell the cells apart with this '
                f'{type(head).__name__}: {self.why_alike}'
            )


def _in_single_precision(head: nn.Module) -> nn.Module:
    """Return a copy in float32 of a head of half precision; any other head as it is."""
    weight = next(head.parameters(), None)
    half = weight is not None and weight.dtype in (torch.float16, torch.bfloat16)
    return copy.deepcopy(head).float() if half else head


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode, and restore the mode of each submodule at the end."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
