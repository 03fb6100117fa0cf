"""Feature maps from different kinds of backbones."""

from collections.abc import Sequence
from typing import Any

import torch

from .ragged import Ragged

Features = torch.Tensor | Sequence[torch.Tensor]


def features_of(feature_map: torch.Tensor | Ragged) -> Any:
    """Return a map as a backbone gives it, in a tuple; for :class:`Ragged` maps, each of its parts.

    This is what heads of MMPretrain take.
    """
    if isinstance(feature_map, Ragged):
        return Ragged([(part,) for part in feature_map.parts], feature_map.counts)
    return (feature_map,)


def last_map(features: Features) -> torch.Tensor:
    """Return the last map of a backbone's tuple, or the map itself if a module returns just one."""
    return features if isinstance(features, (torch.Tensor, Ragged)) else features[-1]
