"""Which pixels a cell of a feature map sees."""

from typing import NamedTuple

import torch
from torch import nn

Pair = tuple[int, int]

_WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


def to_pair(value, kind: type | tuple[type, ...] = int) -> Pair:
    """``3`` -> ``(3, 3)``; a pair of (vertical, horizontal) stays as it is.

    Raises:
        ValueError: Neither a number of that kind nor a pair of them.
    """
    pair = (value, value) if isinstance(value, kind) else value
    if (
        not isinstance(pair, (tuple, list))
        or len(pair) != 2
        or not all(isinstance(length, kind) for length in pair)
    ):
        name = 'integer' if kind is int else 'number'
        raise ValueError(
            f'A length in pixels or cells is one {name} or (vertical, horizontal), got {value!r}.'
        )
    return tuple(pair)


class Geometry(NamedTuple):
    """Cell (i, j) sees the ``size`` pixels from ``stride * (i, j) + offset`` on.

    All pairs are (vertical, horizontal), in pixels.

    Attributes:
        size: Height and width of the receptive field.
        stride: Pixels between neighbouring cells.
        offset: Top left pixel of cell (0, 0); negative where the stack pads.
    """

    size: Pair
    stride: Pair
    offset: Pair

    def grid(self, image_size: Pair) -> Pair:
        """Cells that an image of (height, width) pixels has, padding counted in."""
        return tuple(
            (length - 2 * offset - size) // stride + 1
            for length, size, stride, offset in zip(image_size, self.size, self.stride, self.offset)
        )

    def check_covers(self, images: torch.Tensor, tower: nn.Module) -> None:
        """Raise a ``ValueError`` where (N, C, H, W) images leave ``tower`` not one cell."""
        height, width = images.shape[-2:]
        if min(self.grid((height, width))) < 1:
            least = '×'.join(str(size + 2 * offset) for size, offset in zip(self.size, self.offset))
            raise ValueError(
                f'{type(tower).__name__} needs an input of at least {least} pixels, got '
                f'{height}×{width}: enlarge the image (or the patch) or choose a tower with a '
                'smaller receptive field.'
            )


def receptive_field(stack: nn.Module) -> Geometry:
    """Derive the geometry of a chain of convolutions and poolings.

    Layers count in the order in which they are registered; layers that look at one pixel
    at a time (norms, activations, dropout) change nothing. Only chains are understood: in a
    residual network the order of registration is not a chain.

    Args:
        stack: A module whose ``Conv2d``, ``MaxPool2d`` and ``AvgPool2d`` run one after
            the other.

    Returns:
        Geometry: Receptive field, stride and offset of the last layer's cells.

    Raises:
        ValueError: A layer pads by a rule (``'same'``) or rounds up (``ceil_mode``), so that
            the geometry depends on the image.
    """
    size, stride, offset = (1, 1), (1, 1), (0, 0)
    for name, layer in stack.named_modules():
        if not isinstance(layer, _WINDOWED):
            continue
        if isinstance(layer.padding, str) or getattr(layer, 'ceil_mode', False):
            raise ValueError(
                f'receptive_field cannot derive the geometry of layer {name!r} ({layer}): give '
                'its padding in pixels and leave ceil_mode off.'
            )
        kernel, step, padding, dilation = map(
            to_pair, (layer.kernel_size, layer.stride, layer.padding, getattr(layer, 'dilation', 1))
        )
        size = tuple(s + (k - 1) * d * j for s, k, d, j in zip(size, kernel, dilation, stride))
        offset = tuple(o - p * j for o, p, j in zip(offset, padding, stride))
        stride = tuple(j * s for j, s in zip(stride, step))
    return Geometry(size, stride, offset)
