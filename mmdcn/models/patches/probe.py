"""What a tower makes of an image, found by running it."""
import copy
from typing import NamedTuple, Tuple

import torch
from torch import nn

from .geometry import Pair

SHORT, LONG = 224, 672  # pixels; strides that divide their difference, 448 = 64·7, come out whole
WIDE = 320  # pixels; what a cell in the middle looks at is hardly cut off by the border
TRIALS = 2  # images whose gradients' centres are averaged


class CellCentres(NamedTuple):
    """The middle of what cell (i, j) sees is ``stride * (i, j) + first``.

    Pairs are (vertical, horizontal), in pixels from the top left corner of the image.
    """

    stride: Tuple[float, float]
    first: Tuple[float, float]


def feature_shape(tower: nn.Module, size: Pair) -> Tuple[int, int, int]:
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
        return CellCentres(geometry.stride, tuple(
            offset + size / 2 for offset, size in zip(geometry.offset, geometry.size)))
    tower = _stand_in(tower)
    _, rows, columns = _shape(tower, (SHORT, SHORT))
    more = _shape(tower, (LONG, SHORT))[1] - rows, _shape(tower, (SHORT, LONG))[2] - columns
    if min(more) < 1:
        raise ValueError(f"{type(tower).__name__}'s map doesn't grow with the image: give the "
                         'stride and offset of patch_extractor by hand.')
    stride = tuple((LONG - SHORT) / cells for cells in more)

    images = _noise(tower, (WIDE, WIDE), TRIALS).requires_grad_()
    with torch.enable_grad():
        features = _run(tower, images)
        cells = [length // 2 for length in features.shape[2:]]
        vectors = features[:, :, cells[0], cells[1]]
        directions = torch.randn(vectors.shape, generator=_generator()).to(vectors)
        gradient, = torch.autograd.grad((vectors * directions).sum(), images)
    mass = gradient.double().square().sum(dim=1)
    centre = _medians(mass.sum(dim=2)), _medians(mass.sum(dim=1))
    return CellCentres(stride, tuple(
        where.mean().item() - step * cell for where, step, cell in zip(centre, stride, cells)))


def _medians(mass: torch.Tensor) -> torch.Tensor:
    """Where half of the mass of (N, length) pixels is passed, (N, )."""
    passed = mass.cumsum(dim=1) / mass.sum(dim=1, keepdim=True)
    pixel = (passed < .5).sum(dim=1, keepdim=True)  # in which it is passed
    before = (passed - mass / mass.sum(dim=1, keepdim=True)).gather(1, pixel)
    within = (.5 - before) / (passed.gather(1, pixel) - before)
    return (pixel + within).squeeze(1)


def _stand_in(tower: nn.Module) -> nn.Module:
    """A copy to try, with weights that don't depend on a seed, as the geometry must not."""
    tower, generator = copy.deepcopy(tower), _generator()
    tower.eval()
    for name, weight in tower.requires_grad_(False).named_parameters():
        if weight.dim() > 1:  # what a ReLU halves is doubled, so that nothing fades
            drawn = torch.randn(weight.shape, generator=generator)
            weight.copy_(drawn * (2 / weight[0].numel()) ** .5)
        elif name.endswith('bias'):
            weight.zero_()
    return tower


def _shape(tower: nn.Module, size: Pair) -> Tuple[int, int, int]:
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
            f'and failed: {error} Change the patches\' size, or the tower, or give the stride and '
            'offset of patch_extractor and a fine_neck by hand.') from error
    if not isinstance(features, torch.Tensor):
        features = features[-1] if len(features) else None
    if not isinstance(features, torch.Tensor) or features.dim() != 4:
        got = 'nothing' if features is None else (
            f'{tuple(features.shape)}' if isinstance(features, torch.Tensor) else
            type(features).__name__)
        raise ValueError(
            f"{name} must give a map (N, D, rows, columns) as its last output, got {got}: choose "
            "the backbone's option for that, such as out_type='featmap' of a transformer or "
            'gap_before_final_norm=False of a ConvNeXt.')
    return features


def _noise(tower: nn.Module, size: Pair, number: int = 1) -> torch.Tensor:
    """Images of as many channels as the tower's first convolution takes, else three."""
    convolution = next((part for part in tower.modules() if isinstance(part, nn.Conv2d)), None)
    channels = 3 if convolution is None else convolution.in_channels
    weight = next(tower.parameters(), torch.empty(0))
    return torch.randn(number, channels, *size, generator=_generator()).to(weight)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
