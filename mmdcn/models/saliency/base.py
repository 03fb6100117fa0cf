"""Base class of saliencies."""

from mmengine.model import BaseModule
from torch import nn


class BaseSaliency(BaseModule):
    """Base class of saliencies that need the coarse map alone.

    A subclass that needs more says so in the attributes of the contract
    :class:`mmdcn.models.contracts.Saliency`.
    """

    needs_truth = False
    draws = False
    gives_entropy = False

    def check(self, head: nn.Module) -> None:
        """Accept any head, because the saliency does not use it."""
