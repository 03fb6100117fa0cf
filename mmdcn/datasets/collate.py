"""How the samples of a batch are put together."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dataset import default_collate, pseudo_collate

from mmdcn.registry import FUNCTIONS


@FUNCTIONS.register_module()
def collate_any_sizes(samples: Sequence[dict]) -> Any:
    """Put samples together into a batch, as ``default_collate`` does if images have one size.

    Images of several sizes are left in a list, which a ``DCNClassifier`` takes as it is and other
    classifiers of MMPretrain pad.

    Args:
        samples: N results of a pipeline. ``inputs`` is an image (C, H, W), or a list of its views.
    """
    alike = len({_shapes(sample['inputs']) for sample in samples}) == 1
    return default_collate(samples) if alike else pseudo_collate(samples)


def _shapes(inputs: torch.Tensor | Sequence[torch.Tensor]) -> tuple:
    views = [inputs] if isinstance(inputs, torch.Tensor) else inputs
    return tuple(view.shape for view in views)
