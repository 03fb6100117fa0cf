"""What a tower cannot do by itself: work on no patch, or train batch norm on one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import get_world_size
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def vectors_of_none(*parts: nn.Module, like: torch.Tensor) -> torch.Tensor:
    """Return the vectors of no patches, (0, D), without running a tower.

    Many towers fail on an empty batch. All weights get gradients of zero, because
    ``DistributedDataParallel`` waits for the gradient of each weight.

    Args:
        *parts: The tower that is not run, and its neck.
        like: (N, D, s1, s2), of the type that the result gets.
    """
    ends = [like.new_zeros(0)]
    if torch.is_grad_enabled():
        weights = (weight for part in parts for weight in part.parameters())
        ends += [weight.flatten()[:0].to(like) for weight in weights if weight.requires_grad]
    return torch.cat(ends).unsqueeze(1).expand(0, like.size(1))


def exchanges_statistics(part: nn.Module) -> bool:
    """Return whether a part must run at the same time in all processes, even on nothing."""
    return get_world_size() > 1 and any(
        isinstance(norm, nn.SyncBatchNorm) and norm.training for norm in part.modules()
    )


@contextmanager
def batch_norms_spared(*parts: nn.Module) -> Iterator[list[nn.Module]]:
    """Let batch norms that get a single value per channel use their running statistics.

    They have no batch to train on, and torch raises an error. Batch norms that get a map train as
    usual.

    Args:
        parts: Modules that run within this context.

    Yields:
        list: The batch norms that did so.
    """
    spared: list[nn.Module] = []

    def spare(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs[0].numel() == inputs[0].size(1):
            spared.append(norm.eval())

    hooks = [
        norm.register_forward_pre_hook(spare)
        for part in parts
        for norm in part.modules()
        if isinstance(norm, _BatchNorm) and norm.training and not exchanges_statistics(norm)
    ]
    try:
        yield spared
    finally:
        for hook in hooks:
            hook.remove()
        for norm in spared:
            norm.train()
