"""Checks that a head's loss trains what the head predicts."""

import copy

import torch
import torch.nn.functional as F
from torch import nn


def check_trains_softmax(loss: nn.Module, num_classes: int, owner: str) -> None:
    """Check that a loss trains a distribution over classes, and not each class by itself.

    A softmax is the same if all logits grow by the same amount, and so is each loss of it. A loss
    that asks for labels of another kind than classes is not judged.

    Args:
        loss: Called as ``loss(logits, labels)``; copies are tried.
        num_classes: Classes C.
        owner: Name of the head, for the message.

    Raises:
        ValueError: The loss trains something else, such as a sigmoid for each class.
    """
    logits = torch.linspace(-1, 1, 2 * num_classes).view(2, num_classes).sin()
    labels = torch.tensor([0, num_classes - 1])
    for target in (labels, F.one_hot(labels, num_classes).float()):
        # Some losses count the labels that they have seen, so each call gets a loss of its own.
        one, other = copy.deepcopy(loss), copy.deepcopy(loss)
        try:
            with torch.no_grad():
                before, after = one(logits, target), other(logits + 1, target)
        except Exception:  # labels of another kind: a loss can raise anything
            continue
        if (after - before).abs().max() > 1e-3 * before.abs().max():
            raise ValueError(
                f'{owner}(loss=...) predicts one class of {num_classes} by a softmax, but this '
                f'{type(loss).__name__} trains each class by itself, as sigmoids do: take a loss '
                'of one class, such as CrossEntropyLoss or LabelSmoothLoss without use_sigmoid.'
            )
        return
