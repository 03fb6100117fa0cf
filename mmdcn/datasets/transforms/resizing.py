"""Transforms that resize images."""

import mmcv
import numpy as np
from mmcv.image.geometric import cv2_interp_codes
from mmcv.transforms import BaseTransform

from mmdcn.registry import TRANSFORMS


@TRANSFORMS.register_module()
class UpscaleToCover(BaseTransform):
    """Scales an image by ``scale``, or by more if a side would be smaller than ``size``.

    The aspect ratio is kept, and the image is resized once. The factor is ``scale``, or the
    smallest factor that makes both sides at least ``size``, whichever is larger. So a large image
    is only scaled, and one side of a small image becomes exactly ``size``.

    Required Keys:

    - img: (H, W) or (H, W, C)
    - gt_bboxes: (n, 4) float32 array of (x1, y1, x2, y2), optional

    Modified Keys:

    - img
    - img_shape: (H, W)
    - gt_bboxes

    Added Keys:

    - scale_factor: (width's, height's), after rounding to whole pixels

    Args:
        size: The least (height, width), in pixels, such as the size of a patch.
        scale: Factor for images that are large enough.
        interpolation: One of the names of mmcv's ``imresize``.

    Raises:
        ValueError: An option is out of range.
    """

    keeps_boxes = True

    def __init__(
        self, *, size: tuple[int, int], scale: float = 1.0, interpolation: str = 'bilinear'
    ):
        if len(size) != 2 or min(size) < 1:
            raise ValueError(
                f'UpscaleToCover(size=...) is a height and a width of at least 1, got {size}.'
            )
        if not scale > 0:
            raise ValueError(f'UpscaleToCover(scale=...) must be above 0, got {scale}.')
        if interpolation not in cv2_interp_codes:
            raise ValueError(
                f'UpscaleToCover(interpolation=...) must be one of '
                f'{list(cv2_interp_codes)}, got {interpolation!r}.'
            )
        self.size = tuple(size)
        self.scale = scale
        self.interpolation = interpolation

    def transform(self, results: dict) -> dict:
        """Resize ``results['img']`` and its boxes."""
        height, width = results['img'].shape[:2]
        least_height, least_width = self.size
        factor = max(self.scale, least_height / height, least_width / width)
        target = max(round(height * factor), least_height), max(round(width * factor), least_width)
        if target != (height, width):
            results['img'] = mmcv.imresize(
                results['img'], target[::-1], interpolation=self.interpolation, backend='cv2'
            )
        ratios = target[1] / width, target[0] / height
        results.update(img_shape=target, scale_factor=ratios)
        if 'gt_bboxes' in results:
            results['gt_bboxes'] = results['gt_bboxes'] * np.array(ratios * 2, np.float32)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, scale={self.scale}, '
            f'interpolation={self.interpolation!r})'
        )
