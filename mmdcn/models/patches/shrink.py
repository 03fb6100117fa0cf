import torch
import torch.nn.functional as F


def shrink(images: torch.Tensor, scale: float) -> torch.Tensor:
    """Shrink images without aliasing: bilinear, each pixel the mean of those that it stands for.

    Args:
        images: (N, C, H, W), floats or uint8.
        scale: Share of height and width that is left, within (0, 1].

    Returns:
        Tensor: (N, C, ⌊H·scale⌋, ⌊W·scale⌋), of the same type; on a GPU, where torch shrinks
        floats only, float32.
    """
    if scale == 1:
        return images
    if images.dtype != torch.uint8:
        return _resize(images, (scale, scale))
    if images.is_cuda:
        return _resize(images.float(), (scale, scale))
    # To shrink an image of uint8 torch copies it into four channels. Of rows one by one the copy
    # is small, and the result the same.
    rows = _resize(images.reshape(-1, 1, 1, images.size(3)), (1, scale))
    return _resize(rows.view(*images.shape[:3], -1), (scale, 1))


def _resize(images: torch.Tensor, scales: tuple) -> torch.Tensor:
    return F.interpolate(images, scale_factor=scales, mode='bilinear', antialias=True)
