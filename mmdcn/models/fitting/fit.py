"""Build parts that fit each other from configs that leave options open."""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from mmpretrain.models.utils import ClsDataPreprocessor
from torch import nn

from mmdcn.models.contracts import Grid, Loss, Neck, Saliency, Selector, owes
from mmdcn.models.data_preprocessors import UnpaddedDataPreprocessor
from mmdcn.registry import MODELS, class_of

from .heads import check_reads_a_map
from .probe import input_channels
from .towers import centred_patches, fitting_neck

Part = dict | nn.Module


class Parts(NamedTuple):
    """The parts of a DCN: built, complete and checked against each other.

    Attributes:
        channels: Channels of the images; None if both towers accept any number.
    """

    coarse: nn.Module
    saliency: Saliency
    selector: Selector
    grid: Grid
    fine: nn.Module
    fine_neck: nn.Module | None
    neck: Neck
    head: nn.Module
    losses: nn.ModuleDict
    channels: int | None


def fit_parts(
    *,
    coarse: Part,
    fine: Part,
    head: Part,
    selector: Part,
    grid: Part,
    saliency: Part,
    neck: Part,
    losses: Mapping[str, Part],
    fine_neck: Part | None,
    coarse_scale: float,
) -> Parts:
    """Build the parts of a DCN and fill in what their configs leave open.

    A ``grid`` without a ``stride`` centres patches where the coarse tower's cells look. If
    ``fine_neck`` is None and the neck takes vectors, a fine map larger than 1×1 is averaged, and a
    linear layer maps the channels if they differ. A saliency whose ``grid`` is None gets the grid
    of the DCN.

    Args:
        coarse: Backbone that sees the whole image.
        fine: Backbone that sees patches.
        head: Reads the neck's output.
        selector: Chooses cells.
        grid: Maps each cell to the pixels of its patch.
        saliency: Says how much cells matter.
        neck: Joins coarse map and fine vectors.
        losses: Terms beside the head's loss, by name.
        fine_neck: Reads the fine tower's map.
        coarse_scale: Scale at which the coarse tower sees the image.

    Raises:
        ValueError: Parts do not fit each other, or the trial run of a tower failed or gave no
            map.
    """
    if not 0 < coarse_scale <= 1:
        raise ValueError(
            "DCNClassifier(coarse_scale=...) is the share of an image's height and width that the "
            f'coarse tower sees, within (0, 1], got {coarse_scale}.'
        )
    towers = coarse_tower, fine_tower = _build(coarse), _build(fine)
    if isinstance(grid, dict) and 'stride' not in grid:
        grid = centred_patches(grid, coarse_tower, coarse_scale)
    parts = Parts(
        coarse=coarse_tower,
        saliency=_kept(saliency, Saliency, 'saliency'),
        selector=_kept(selector, Selector, 'selector'),
        grid=_kept(grid, Grid, 'grid'),
        fine=fine_tower,
        fine_neck=None if fine_neck is None else _build(fine_neck),
        neck=_kept(neck, Neck, 'neck'),
        head=_build(head),
        losses=nn.ModuleDict(
            {name: _kept(loss, Loss, 'loss') for name, loss in losses.items() if loss}
        ),
        channels=_common_channels(*towers),
    )
    if getattr(parts.saliency, 'grid', parts.grid) is None:
        parts.saliency.grid = parts.grid  # type: ignore[attr-defined]
    if fine_neck is None and parts.neck.takes_vectors:
        parts = parts._replace(fine_neck=fitting_neck(*towers, parts.grid.size))
    _check(parts)
    return parts


def fit_preprocessor(
    data_preprocessor: dict | nn.Module | None, train_cfg: dict | None
) -> dict | nn.Module:
    """Complete the config of a DCN's data preprocessor, with MMPretrain's batch augmentations.

    Instead of MMPretrain's preprocessor, which pads images, a DCN has one that does not.

    Raises:
        ValueError: The batch augmentations would mix images before they are normalised.
    """
    if isinstance(data_preprocessor, nn.Module):
        return data_preprocessor
    config = {'type': ClsDataPreprocessor, **(data_preprocessor or {})}
    if class_of(config['type'], MODELS) is ClsDataPreprocessor:
        config['type'] = UnpaddedDataPreprocessor
    if train_cfg:
        kind = class_of(config['type'], MODELS)
        if hasattr(kind, 'normalize'):
            raise ValueError(
                'DCNClassifier(train_cfg=...) mixes images that are normalised, which '
                f'{kind.__name__} leaves for later: leave one of the two out.'
            )
        config.setdefault('batch_augments', train_cfg)
    return config


def _check(parts: Parts) -> None:
    """Raise a ``ValueError`` if parts do not fit each other."""
    saliency, selector, neck = parts.saliency, parts.selector, parts.neck
    saliency.check(parts.head)
    check_reads_a_map(parts.head)
    if selector.needs_entropy and not saliency.gives_entropy:
        raise ValueError(
            f'{type(selector).__name__} needs the entropy of the coarse prediction, which '
            f'{type(saliency).__name__} does not compute: use EntropyGradient.'
        )
    if selector.adaptive and not neck.takes_budgets:
        raise ValueError(
            f'{type(neck).__name__} needs the same number of patches for all images, but '
            f'{type(selector).__name__} gives them different numbers: choose TopKSelector, '
            'or SwapRefine as the neck.'
        )
    if selector.k == 0 and not neck.takes_budgets:
        raise ValueError(
            f"{type(neck).__name__} reads patches alone and would get none: set the selector's k "
            'to at least 1.'
        )
    shares = head_share_taken(parts.losses)
    if shares > 1:
        raise ValueError(
            f'The losses {", ".join(parts.losses)} take over {shares} of the gradient of the '
            'coarse tower, which is more than all of it: lower their loss_weight.'
        )


def head_share_taken(losses: nn.ModuleDict) -> float:
    """Return λ, the share of the coarse tower's gradient that ``losses`` take from the head's."""
    return sum(cast(Loss, loss).share for loss in losses.values())


def _kept(part: Part, contract: type, role: str) -> Any:
    """Build a part and check its contract."""
    built = _build(part)
    owes(built, contract, role)
    return built


def _build(part: Part) -> Any:
    return part if isinstance(part, nn.Module) else MODELS.build(part)


def _common_channels(coarse: nn.Module, fine: nn.Module) -> int | None:
    """Return the channels of the images, or None if no tower has a convolution to tell."""
    channels = {input_channels(coarse), input_channels(fine)} - {None}
    if len(channels) > 1:
        raise ValueError(
            f'Both towers see the same image, but the coarse tower takes {input_channels(coarse)} '
            f'channel(s) and the fine one {input_channels(fine)}: set in_channels of one of them.'
        )
    return next(iter(channels), None)
