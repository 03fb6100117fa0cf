"""What any convolutional network gets before it is deployed."""

import torch
from mmcv.cnn.utils import fuse_conv_bn
from torch import nn


def optimize_for_inference(model: nn.Module) -> nn.Module:
    """Fold batch norms into convolutions and store weights channels last, in place.

    Both leave the answers as they are up to rounding, and suit coarse model, fine model and DCN
    alike.

    Args:
        model: Trained. It can't be trained any more.

    Returns:
        nn.Module: The model, in evaluation mode and without gradients.
    """
    fuse_conv_bn(model.eval().requires_grad_(False))
    return model.to(memory_format=torch.channels_last)
