"""Transforms that load images."""

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image, ImageOps

from mmdcn.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadGrayscale(BaseTransform):
    """Loads an image file of any mode as (H, W) uint8 luminance.

    Colours become luminance by ITU-R 601-2. Transparent pixels are blended with black. 16 bits are
    scaled to 8, not clipped. The EXIF orientation is applied.

    Required Keys:

    - img_path

    Added Keys:

    - img
    - img_shape: (H, W)
    - ori_shape: (H, W)

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is cut or is not an image; the message names it.
    """

    keeps_boxes = True

    def transform(self, results: dict) -> dict:
        """Load ``results['img_path']``."""
        image = _load(results['img_path'])
        results.update(img=image, img_shape=image.shape, ori_shape=image.shape)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


def _load(path: str) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return _luminance(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'The image {path} is missing; extract its archive again or correct the path.'
        ) from error
    # PIL's decoders raise many types of error on broken bytes.
    except Exception as error:
        raise ValueError(
            f'The image {path} is cut or cannot be read ({error}); replace it, by '
            'extracting its archive again or converting it to 8 bits.'
        ) from error


def _luminance(image: Image.Image) -> np.ndarray:
    """Return the luminance of an opened image, (H, W) uint8."""
    if image.mode.startswith('I'):  # 16 bits; older versions of PIL store them in 32
        wide = np.asarray(image).astype(np.float64)
        return np.clip(wide / 257 + 0.5, 0, 255).astype(np.uint8)
    if image.mode == 'F':
        raise ValueError('floating-point images have no known range')
    if image.has_transparency_data:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'black'), image)
    return np.array(image.convert('L'))
