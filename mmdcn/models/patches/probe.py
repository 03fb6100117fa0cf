"""What a tower makes of an image, found by running it."""

import copy
from typing import NamedTuple

import torch
from torch import nn

from .geometry import Pair

SHORT, LONG = 224, 672  # pixels; strides that divide their difference, 448 = 64·7, come out whole
WIDE = 320  # pixels; what a cell in the middle looks at is hardly cut off by the border
TRIALS = 4  # random weights over which places are averaged


class CellCentres(NamedTuple):
    """The middle of what cell (i, j) sees is ``stride * (i, j) + first``.

    Pairs are (vertical, horizontal), in pixels from the top left corner of the image.
    """

    stride: tuple[float, float]
    first: tuple[float, float]


def input_channels(model: nn.Module) -> int | None:
    """Channels of the images that a model takes: of what its first convolution takes."""
    return next((part.in_channels for part in model.modules() if isinstance(part, nn.Conv2d)), None)


def feature_shape(tower: nn.Module, size: Pair) -> tuple[int, int, int]:
    """Run a tower on an image of ``size`` pixels: -> (D, rows, columns) of its last map.

    Raises:
        ValueError: The tower can't take such an image, or gives no map.
    """
    return _shape(_stand_in(tower), size)


@torch.inference_mode(False)
def cell_centres(tower: nn.Module) -> CellCentres:
    """Find out where in the image the cells of a tower look.

    A tower that knows its receptive field says so itself (``tower.geometry``). Of any other the
    stride is what the map grows by with the image, and a cell looks where the square of its
    gradient with respect to the pixels has its median. The latter is measured on random weights,
    always the same, to about a sixth of a stride: in spite of its padding a ResNet's first
    cell is centred on the image's first pixels, that of a transformer on its first patch.

    Raises:
        ValueError: The tower takes images of one size only, or gives no map.
    """
    geometry = getattr(tower, 'geometry', None)
    if geometry is not None:
        return CellCentres(
            geometry.stride,
            tuple(offset + size / 2 for offset, size in zip(geometry.offset, geometry.size)),
        )
    trial = _stand_in(tower)
    _, rows, columns = _shape(trial, (SHORT, SHORT))
    more = (_shape(trial, (LONG, SHORT))[1] - rows, _shape(trial, (SHORT, LONG))[2] - columns)
    if min(more) < 1:
        raise ValueError(
            f"{type(tower).__name__}'s map doesn't grow with the image: give the "
            'stride and offset of patch_extractor by hand.'
        )
    stride = tuple((LONG - SHORT) / cells for cells in more)

    centres = [_middle_of_first_cell(_stand_in(tower, seed), stride) for seed in range(TRIALS)]
    return CellCentres(stride, tuple(sum(axis) / TRIALS for axis in zip(*centres)))


def _middle_of_first_cell(tower: nn.Module, stride: Pair) -> tuple[float, float]:
    """From where a cell in the middle looks, with the weights that the tower has."""
    image = _noise(tower, (WIDE, WIDE)).requires_grad_()
    with torch.enable_grad():
        features = _run(tower, image)
        cells = [length // 2 for length in features.shape[2:]]
        vector = features[0, :, cells[0], cells[1]]
        direction = torch.randn(vector.shape, generator=_generator()).to(vector)
        (gradient,) = torch.autograd.grad((vector * direction).sum(), image)
    mass = gradient[0].double().square().sum(dim=0)
    return tuple(_median(mass.sum(dim=1 - axis)) - stride[axis] * cells[axis] for axis in (0, 1))


def _median(mass: torch.Tensor) -> float:
    """Where half of the mass of (length, ) pixels is passed."""
    share = mass / mass.sum()
    passed = share.cumsum(dim=0)
    pixel = int((passed < 0.5).sum())  # in which it is passed
    return pixel + 1 - ((passed[pixel] - 0.5) / share[pixel]).item()


def _stand_in(tower: nn.Module, seed: int = 0) -> nn.Module:
    """A copy to try, with weights of its own, as the geometry must not depend on the tower's."""
    tower, generator = copy.deepcopy(tower), _generator(seed)
    tower.eval()
    for name, weight in tower.requires_grad_(False).named_parameters():
        if weight.dim() > 1:  # what a ReLU halves is doubled, so that nothing fades
            drawn = torch.randn(weight.shape, generator=generator)
            weight.copy_(drawn * (2 / weight[0].numel()) ** 0.5)
        elif name.endswith('bias'):
            weight.zero_()
    return tower


def _shape(tower: nn.Module, size: Pair) -> tuple[int, int, int]:
    with torch.no_grad():
        return tuple(_run(tower, _noise(tower, size)).shape[1:])


def _run(tower: nn.Module, image: torch.Tensor) -> torch.Tensor:
    size = '×'.join(map(str, image.shape[2:]))
    name = type(tower).__name__
    try:
        features = tower(image)
    except Exception as error:  # whatever a tower can raise
        raise ValueError(
            f'{name} was run on an image of {image.size(1)}×{size} to find out what map it gives, '
            f"and failed: {error} Change the patches' size, or the tower, or give the stride and "
            'offset of patch_extractor and a fine_neck by hand.'
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
    """An image of as many channels as the tower's first convolution takes, else three."""
    channels = input_channels(tower) or 3
    weight = next(tower.parameters(), torch.empty(0))
    return torch.randn(1, channels, *size, generator=_generator()).to(weight)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
