"""Feature maps from different kinds of backbones."""

from collections.abc import Sequence

import torch

Features = torch.Tensor | Sequence[torch.Tensor]


def last_map(features: Features) -> torch.Tensor:
    """Return the last map of a backbone's tuple, or the map itself if a module returns just one."""
    return features if isinstance(features, torch.Tensor) else features[-1]
