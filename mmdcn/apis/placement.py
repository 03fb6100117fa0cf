"""Follow an image through a test pipeline: where its pixels lie in the network's input."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from mmcv.transforms import CenterCrop, Normalize, Pad

Pair = tuple[float, float]  # across and down


class Placement(NamedTuple):
    """Where an image lies in the network's input: its pixel at p is there at scale · p + shift.

    Attributes:
        scale: Scale (across, down).
        shift: Pixels of the input (to the right, down).
        lost_in: The transform that moves pixels in a way that is not known, if any does.
    """

    scale: Pair = (1.0, 1.0)
    shift: Pair = (0.0, 0.0)
    lost_in: str | None = None

    def in_image(self, boxes: np.ndarray) -> np.ndarray:
        """Return boxes of the input (n, 4), (x1, y1, x2, y2), in pixels of the image."""
        return ((boxes - np.tile(self.shift, 2)) / np.tile(self.scale, 2)).astype(np.float32)

    def then(self, scale: Pair, shift: Pair) -> 'Placement':
        """Return the placement after one more scale and shift."""
        return self._replace(
            scale=(scale[0] * self.scale[0], scale[1] * self.scale[1]),
            shift=(scale[0] * self.shift[0] + shift[0], scale[1] * self.shift[1] + shift[1]),
        )


def follow(
    transform: Callable[[dict], dict], data: dict, placement: Placement
) -> tuple[dict, Placement]:
    """Apply a transform, and return its result and where the image lies in that.

    MMCV's ``Pad`` and ``CenterCrop`` are known, and so is what tells its ``scale_factor``, as all
    of MMCV's and MMPretrain's resizing does. Other transforms must leave the image as it is.

    Args:
        transform: A transform of a pipeline.
        data: Its input, with ``img`` (H, W) or (H, W, C).
        placement: Where the image lies in ``img``.
    """
    before, factor = np.array(data.get('img')), data.get('scale_factor')  # a copy
    data = transform(data)
    if placement.lost_in or 'img' not in data or type(transform) in (Normalize, Pad):
        return data, placement  # what packs takes img away; padding is on the right and below
    after = np.asarray(data['img'])
    if type(transform) is CenterCrop:
        return data, placement.then((1.0, 1.0), _cut_off(before, after))
    told = data.get('scale_factor')
    if told is not None and told is not factor and not data.get('flip'):
        scale = after.shape[1] / before.shape[1], after.shape[0] / before.shape[0]
        if np.allclose(np.multiply(told, before.shape[1::-1]), after.shape[1::-1], rtol=0, atol=1):
            return data, placement.then(scale, (0.0, 0.0))
    elif np.array_equal(before, after):
        return data, placement
    return data, placement._replace(lost_in=type(transform).__name__)


def _cut_off(before: Any, after: Any) -> Pair:
    """Return the shift by MMCV's ``CenterCrop``, which rounds halves to even."""
    down, across = (
        -max(0, round((whole - kept) / 2))
        for whole, kept in zip(before.shape[:2], after.shape[:2], strict=True)
    )
    return across, down
