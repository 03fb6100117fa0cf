"""The pixels that a cell of a feature map sees."""

from typing import Any, NamedTuple

import torch
from torch import nn

from mmdcn.structures import parts_of

Pair = tuple[int, int]

_WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


def to_pair(value: Any, kind: type | tuple[type, ...] = int) -> tuple[Any, Any]:
    """Turn one number into a pair, ``3`` -> ``(3, 3)``, and keep (vertical, horizontal) as it is.

    Raises:
        ValueError: ``value`` is neither a number of that kind nor a pair of them.
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
    return pair[0], pair[1]


class Geometry(NamedTuple):
    """Receptive fields: cell (i, j) sees ``size`` pixels from ``stride * (i, j) + offset`` on.

    All pairs are (vertical, horizontal), in pixels.

    Attributes:
        size: Height and width of the receptive field.
        stride: Pixels between neighbouring cells.
        offset: Top left pixel of cell (0, 0); negative if the stack pads.
    """

    size: Pair
    stride: Pair
    offset: Pair

    def grid(self, image_size: Pair) -> Pair:
        """Return the rows and columns of cells of a (height, width) image, with its padding."""
        rows, columns = (
            (image_size[axis] - 2 * self.offset[axis] - self.size[axis]) // self.stride[axis] + 1
            for axis in (0, 1)
        )
        return rows, columns

    def check_covers(self, images: torch.Tensor, tower: nn.Module) -> None:
        """Raise a ``ValueError`` if (N, C, H, W) images are too small for one cell of ``tower``."""
        for part in parts_of(images):
            self._check_covers(part.size(-2), part.size(-1), tower)

    def _check_covers(self, height: int, width: int, tower: nn.Module) -> None:
        if min(self.grid((height, width))) < 1:
            least = '×'.join(
                str(size + 2 * offset) for size, offset in zip(self.size, self.offset, strict=True)
            )
            raise ValueError(
                f'{type(tower).__name__} needs an input of at least {least} pixels, got '
                f'{height}×{width}: enlarge the image (or the patch) or choose a tower with a '
                'smaller receptive field.'
            )


def receptive_field(stack: nn.Module) -> Geometry:
    """Derive the geometry of a chain of convolutions and poolings.

    The layers are taken in the order in which they are registered. Layers that look at one pixel
    at a time (norms, activations, dropout) change nothing. This works for chains only: a residual
    network is not a chain.

    Args:
        stack: A module whose ``Conv2d``, ``MaxPool2d`` and ``AvgPool2d`` run one after
            the other.

    Returns:
        Geometry: Receptive field, stride and offset of the last layer's cells.

    Raises:
        ValueError: A layer pads by a rule (``'same'``) or rounds up (``ceil_mode``), so that
            the geometry depends on the image.
    """
    size, stride, offset = [1, 1], [1, 1], [0, 0]
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
        for axis in (0, 1):
            size[axis] += (kernel[axis] - 1) * dilation[axis] * stride[axis]
            offset[axis] -= padding[axis] * stride[axis]
            stride[axis] *= step[axis]
    return Geometry(to_pair(size), to_pair(stride), to_pair(offset))
