"""Try a head before it gets feature maps."""

import torch
from torch import nn

from mmdcn.models.saliency.head_reading import TRIAL_CELLS, evaluation_mode


def check_reads_a_map(head: nn.Module) -> None:
    """Run a head on a random map.

    MMPretrain's heads that read vectors take a map's columns for its channels.

    Args:
        head: A head that tells its ``in_channels`` or begins with a layer that does; others are not
            tried.

    Raises:
        ValueError: The head fails, or gives something else than one vector an image.
    """
    channels = getattr(head, 'in_channels', None)
    if not isinstance(channels, int):
        channels = _channels_of_first_layer(head)
    weight = next(head.parameters(), None)
    if not isinstance(channels, int) or weight is None or weight.is_meta:
        return
    columns = TRIAL_CELLS + (channels == TRIAL_CELLS)  # never as many as channels
    generator = torch.Generator().manual_seed(0)
    feats = torch.rand(2, channels, TRIAL_CELLS, columns, generator=generator).to(weight)
    try:
        with evaluation_mode(head), torch.no_grad():
            logits = head((feats,))
        wrong = f'gave {tuple(logits.shape)}' if _is_no_vector(logits) else ''
    except Exception as error:  # a head can raise anything
        wrong = f'failed ({str(error).partition(chr(10))[0] or type(error).__name__})'
    if wrong:
        raise ValueError(
            f'{type(head).__name__} cannot be the head of a DCN: on a map of '
            f'{tuple(feats.shape)} it {wrong}. If it reads vectors, give it a neck that pools: '
            "dict(type='MapHead', in_channels=..., neck=dict(type='GlobalAveragePooling'), "
            'head=...).'
        )


def _channels_of_first_layer(head: nn.Module) -> int | None:
    for layer in head.modules():
        if isinstance(layer, nn.Linear):
            return layer.in_features
        if isinstance(layer, nn.modules.conv._ConvNd):
            return layer.in_channels
    return None


def _is_no_vector(logits: object) -> bool:
    return isinstance(logits, torch.Tensor) and (logits.dim() != 2 or logits.size(0) != 2)
