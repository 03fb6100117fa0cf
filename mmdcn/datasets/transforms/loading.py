"""Transforms that load images."""

import logging

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log
from PIL import Image, ImageOps

from mmdcn.registry import TRANSFORMS

MOST_OF_12_BITS, MOST_OF_16_BITS = 4095, 65535


@TRANSFORMS.register_module()
class LoadGrayscale(BaseTransform):
    """Loads an image file of any mode as (H, W) uint8 luminance.

    Colours become luminance by ITU-R 601-2. Transparent pixels are blended with black. 16 bits are
    scaled to 8, not clipped; the log says once if they hold only 12. The EXIF orientation is
    applied.

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

    def __init__(self) -> None:
        self._said = False

    def transform(self, results: dict) -> dict:
        """Load ``results['img_path']``."""
        path = results['img_path']
        image, highest = _load(path)
        if 0 < highest <= MOST_OF_12_BITS and not self._said:
            self._said = True
            print_log(
                f'The 16-bit image {path} has no value above {highest}, as files that hold 12 bits '
                'do, and 16 bits are scaled to 8, so it becomes nearly black: stretch such files '
                "to 16 bits, or load them by LoadImageFromFile(color_type='unchanged') and set "
                'mean and std of the data_preprocessor to their range.',
                logger='current',
                level=logging.WARNING,
            )
        results.update(img=image, img_shape=image.shape, ori_shape=image.shape)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


def beyond_the_limit() -> str:
    """Return the end of a sentence about an image that is larger than PIL allows."""
    return (
        f'more than the {Image.MAX_IMAGE_PIXELS} pixels that PIL takes for safe: shrink or cut the '
        'image with another program, or, in Python, set PIL.Image.MAX_IMAGE_PIXELS = None first.'
    )


def _load(path: str) -> tuple[np.ndarray, int]:
    """Return the luminance of a file, (H, W) uint8, and its highest value if it has 16 bits."""
    try:
        # PIL would map a file that it opens by name into memory, and so skew an uncompressed TIFF
        # that lies on its side.
        with open(path, 'rb') as file, Image.open(file) as image:
            return _luminance(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'The image {path} is missing; extract its archive again or correct the path.'
        ) from error
    except Image.DecompressionBombError as error:
        raise ValueError(f'The image {path} has {beyond_the_limit()}') from error
    # PIL's decoders raise many types of error on broken bytes.
    except Exception as error:
        raise ValueError(
            f'The image {path} is cut or cannot be read ({error}); replace it, by '
            'extracting its archive again or converting it to 8 bits.'
        ) from error


def _luminance(image: Image.Image) -> tuple[np.ndarray, int]:
    if image.mode.startswith('I'):  # 16 bits; older versions of PIL store them in 32
        wide = np.asarray(image).astype(np.float64)
        if wide.min() < 0 or wide.max() > MOST_OF_16_BITS:
            raise ValueError('32-bit images have no known range')
        return np.clip(wide / 257 + 0.5, 0, 255).astype(np.uint8), int(wide.max())
    if image.mode == 'F':
        raise ValueError('floating-point images have no known range')
    if image.has_transparency_data:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'black'), image)
    return np.array(image.convert('L')), 0
