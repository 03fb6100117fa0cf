"""Measure a tower's output by running it on images."""

import copy
from typing import NamedTuple, cast

import torch
from torch import nn

from mmdcn.models.patches.geometry import Pair

SHORT, LONG = 224, 672  # pixels; a stride that divides the difference, 448 = 64·7, is found exactly
WIDE = 320  # pixels; wide enough that the border hardly cuts the view of a cell in the middle
TRIALS = 4  # number of random initialisations to average over


class CellCentres(NamedTuple):
    """Centres of what the cells see: cell (i, j) looks at ``stride * (i, j) + first``.

    Pairs are (vertical, horizontal), in pixels from the top left corner of the image.
    """

    stride: tuple[float, float]
    first: tuple[float, float]


def input_channels(model: nn.Module) -> int | None:
    """Return the input channels of a model's first convolution, or None if it has none."""
    return next((part.in_channels for part in model.modules() if isinstance(part, nn.Conv2d)), None)


def feature_shape(tower: nn.Module, size: Pair) -> tuple[int, int, int]:
    """Run a tower on an image of ``size`` pixels and return its last map's (D, rows, columns).

    Raises:
        ValueError: The tower fails on such an image, or gives no map.
    """
    return _shape(_stand_in(tower), size)


@torch.inference_mode(False)
def cell_centres(tower: nn.Module) -> CellCentres:
    """Find where in the image the cells of a tower look.

    A tower that knows its receptive field tells it (``tower.geometry``). For any other tower, the
    stride is the growth of the image divided by the growth of the map. The centre of a cell is the
    median of its squared gradient with respect to the pixels. It is measured with fixed random
    weights, to about a sixth of a stride. For example, the first cell of a ResNet is centred on the
    image's first pixels in spite of the padding; that of a transformer, on its first patch.

    Raises:
        ValueError: The tower takes images of only one size, or gives no map.
    """
    geometry = getattr(tower, 'geometry', None)
    if geometry is not None:
        return CellCentres(
            geometry.stride,
            tuple(
                offset + size / 2
                for offset, size in zip(geometry.offset, geometry.size, strict=True)
            ),
        )
    trial = _stand_in(tower)
    _, rows, columns = _shape(trial, (SHORT, SHORT))
    more = (_shape(trial, (LONG, SHORT))[1] - rows, _shape(trial, (SHORT, LONG))[2] - columns)
    if min(more) < 1:
        raise ValueError(
            f"{type(tower).__name__}'s map doesn't grow with the image: give the "
            'stride and offset of grid by hand.'
        )
    stride = (LONG - SHORT) / more[0], (LONG - SHORT) / more[1]

    centres = [_middle_of_first_cell(_stand_in(tower, seed), stride) for seed in range(TRIALS)]
    down, across = (sum(axis) / TRIALS for axis in zip(*centres, strict=True))
    return CellCentres(stride, (down, across))


def _middle_of_first_cell(tower: nn.Module, stride: tuple[float, float]) -> tuple[float, float]:
    """Derive the first cell's centre from a cell in the middle, with the tower's own weights."""
    image = _noise(tower, (WIDE, WIDE)).requires_grad_()
    with torch.enable_grad():
        features = _run(tower, image)
        cells = [length // 2 for length in features.shape[2:]]
        vector = features[0, :, cells[0], cells[1]]
        direction = torch.randn(vector.shape, generator=_generator()).to(vector)
        # Not autograd.grad, which towers that recompute their activations (with_cp) refuse.
        (vector * direction).sum().backward()
    mass = cast(torch.Tensor, image.grad)[0].double().square().sum(dim=0)
    down, across = (_median(mass.sum(dim=1 - axis)) - stride[axis] * cells[axis] for axis in (0, 1))
    return down, across


def _median(mass: torch.Tensor) -> float:
    """Return the position that has half of the mass (length,) before it."""
    share = mass / mass.sum()
    passed = share.cumsum(dim=0)
    pixel = int((passed < 0.5).sum())  # the pixel that holds the median
    return pixel + 1 - ((passed[pixel] - 0.5) / share[pixel]).item()


def _stand_in(tower: nn.Module, seed: int = 0) -> nn.Module:
    """Copy a tower with random weights, since its geometry must not depend on trained weights."""
    tower, generator = copy.deepcopy(tower), _generator(seed)
    tower.eval()
    for name, weight in tower.requires_grad_(False).named_parameters():
        if weight.dim() > 1:  # doubles the variance, because a ReLU halves it
            drawn = torch.randn(weight.shape, generator=generator)
            weight.copy_(drawn * (2 / weight[0].numel()) ** 0.5)
        elif name.endswith('bias'):
            weight.zero_()
    return tower


def _shape(tower: nn.Module, size: Pair) -> tuple[int, int, int]:
    with torch.no_grad():
        _, channels, rows, columns = _run(tower, _noise(tower, size)).shape
        return channels, rows, columns


def _run(tower: nn.Module, image: torch.Tensor) -> torch.Tensor:
    size = '×'.join(map(str, image.shape[2:]))
    name = type(tower).__name__
    try:
        features = tower(image)
    except Exception as error:  # a tower can raise anything
        raise ValueError(
            f'{name} was run on an image of {image.size(1)}×{size} to find out what map it gives, '
            f"and failed: {error} Change the patches' size, or the tower, or give the stride and "
            'offset of grid and a fine_neck by hand.'
        ) from error
    if not isinstance(features, torch.Tensor):
        features = features[-1] if len(features) else None
    if not isinstance(features, torch.Tensor) or features.dim() != 4:
        got = (
            'nothing'
            if features is None
            else (
                f'{tuple(features.shape)}'
                if isinstance(features, torch.Tensor)
                else type(features).__name__
            )
        )
        raise ValueError(
            f'{name} must give a map (N, D, rows, columns) as its last output, got {got}: choose '
            "the backbone's option for that, such as out_type='featmap' of a transformer or "
            'gap_before_final_norm=False of a ConvNeXt.'
        )
    return features


def _noise(tower: nn.Module, size: Pair) -> torch.Tensor:
    """Make a random image with the channels of the tower's first convolution, or else three."""
    channels = input_channels(tower) or 3
    weight = next(tower.parameters(), torch.empty(0))
    return torch.randn(1, channels, *size, generator=_generator()).to(weight)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
