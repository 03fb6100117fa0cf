"""Run networks and heads on images of several sizes, each as if it were alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmpretrain.structures import DataSample
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdcn.models.patches.few import exchanges_statistics
from mmdcn.structures import Ragged, join, last_map, parts_of
from mmdcn.structures.ragged import UnlikeSizes


def run(tower: nn.Module, images: torch.Tensor | Ragged) -> torch.Tensor | Ragged:
    """Return a tower's last map, of images of any sizes.

    Each size runs apart, so any tower can be run. Only while batch norms train, all sizes run
    operator by operator, because they normalise by common statistics.

    Raises:
        ValueError: The tower trains batch norms, and computes with the sizes of its input, or
            exchanges their statistics between processes.
    """
    if not isinstance(images, Ragged):
        return last_map(tower(images))
    if not _trains_batch_norm(tower):
        return join([last_map(tower(part)) for part in images.parts])
    with _all_sizes_at_once(tower):
        found = last_map(tower(images))
        trained = torch.is_grad_enabled() and any(each.requires_grad for each in tower.parameters())
        if trained and not all(part.requires_grad for part in parts_of(found)):
            raise UnlikeSizes('A function of its own, or with gradient checkpoints,')
        return found


def logits(head: Any, feats: Any) -> torch.Tensor:
    """Return a head's output for features; :class:`Ragged` features of several sizes."""
    if not isinstance(feats, Ragged):
        return head(feats)
    return torch.cat([head(part) for part in feats.parts])


def predict(head: Any, feats: Any, data_samples: list[DataSample] | None) -> list[DataSample]:
    """Return the head's predictions, in the order of the images."""
    if not isinstance(feats, Ragged):
        return head.predict(feats, data_samples)
    samples = samples_of_parts(feats, data_samples)
    found = [head.predict(*both) for both in zip(feats.parts, samples, strict=True)]
    return [sample for of_part in found for sample in of_part]


def loss(head: Any, feats: Any, data_samples: list[DataSample]) -> dict[str, torch.Tensor]:
    """Return the head's losses, each the mean over the images."""
    if not isinstance(feats, Ragged):
        return head.loss(feats, data_samples)
    if _trains_batch_norm(head):
        maps = Ragged([last_map(part) for part in feats.parts], feats.counts)
        with _all_sizes_at_once(head):
            return head.loss((maps,), data_samples)
    samples = samples_of_parts(feats, data_samples)
    found = [head.loss(*both) for both in zip(feats.parts, samples, strict=True)]
    shares = [count / len(feats) for count in feats.counts]
    return {
        name: sum(share * terms[name] for share, terms in zip(shares, found, strict=True))
        for name in found[0]
    }


@contextmanager
def _all_sizes_at_once(module: nn.Module) -> Iterator[None]:
    """Say so if a module cannot run on a :class:`Ragged`."""
    name = type(module).__name__
    if exchanges_statistics(module):
        raise ValueError(
            f'The SyncBatchNorm of {name} cannot train on images that differ in size within a '
            'batch: leave sync_bn out, or resize images to one size in the pipeline.'
        )
    if any(getattr(part, 'with_cp', False) for part in module.modules()):
        raise ValueError(
            f'{name}(with_cp=True) computes parts of the network twice, which images that differ '
            'in size within a batch cannot go through: leave with_cp out, or resize images to one '
            'size in the pipeline.'
        )
    try:
        yield
    except (AttributeError, TypeError, UnlikeSizes) as error:
        if isinstance(error, UnlikeSizes) or Ragged.__name__ in str(error):
            raise ValueError(
                f'{name} cannot train its batch norms on images that differ in size within a '
                f'batch. {error}'
            ) from error
        raise


def samples_of_parts(batch: Any, data_samples: list[DataSample] | None) -> list:
    """Return the data samples of each part of a batch."""
    if not isinstance(batch, Ragged) or data_samples is None:
        return [data_samples] * len(parts_of(batch))
    left = iter(data_samples)
    return [[next(left) for _ in range(count)] for count in batch.counts]


def _trains_batch_norm(module: nn.Module) -> bool:
    return any(isinstance(part, _BatchNorm) and part.training for part in module.modules())
