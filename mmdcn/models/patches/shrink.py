import torch
import torch.nn.functional as F


def shrink(images: torch.Tensor, scale: float) -> torch.Tensor:
    """Shrink images without aliasing: bilinear, each pixel the mean of those that it stands for.

    Args:
        images: (N, C, H, W), floats or uint8.
        scale: Share of height and width that is left, within (0, 1].

    Returns:
        Tensor: (N, C, ⌊H·scale⌋, ⌊W·scale⌋), of the same type; float32 where torch shrinks
        floats only, on a GPU and to a single pixel's height or width.

    Raises:
        ValueError: Nothing would be left of an image.
    """
    if scale == 1:
        return images
    if not torch.compiler.is_compiling():
        shorter = min(images.shape[-2:])
        if int(shorter * scale) < 1:
            raise ValueError(
                f'Of an image of {images.size(-2)}×{images.size(-1)} pixels nothing '
                f'is left at a scale of {scale}: enlarge the image.'
            )
        if images.is_cuda or int(shorter * scale) == 1:
            images = images.float()
    if images.dtype != torch.uint8:
        return _resize(images, (scale, scale))
    # To shrink an image of uint8 torch copies it into four channels. Of rows one by one the copy
    # is small, and the result the same.
    rows = _resize(images.reshape(-1, 1, 1, images.size(3)), (1, scale))
    return _resize(rows.view(*images.shape[:3], -1), (scale, 1))


def _resize(images: torch.Tensor, scales: tuple) -> torch.Tensor:
    return F.interpolate(images, scale_factor=scales, mode='bilinear', antialias=True)
