from typing import NamedTuple

import torch


class Measured(NamedTuple):
    """What a saliency measure says of N coarse maps of s1×s2 cells.

    Attributes:
        saliency: (N, s1, s2), ≥ 0, float32 (float64 for a float64 map), no graph.
        entropy: (N,), of the coarse prediction in nats, likewise; None from a measure that does
            not work it out.
    """

    saliency: torch.Tensor
    entropy: torch.Tensor | None = None
