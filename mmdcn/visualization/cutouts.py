"""Cut the places where a DCN looked out of image files."""

from os import PathLike

import numpy as np
from PIL import Image, ImageOps

from mmdcn.datasets.transforms.loading import beyond_the_limit

PNG_MODES = ('1', 'L', 'LA', 'RGB', 'RGBA')  # those of PNG in which 0 is black


def cut_patches(path: str | PathLike, boxes: np.ndarray) -> list[Image.Image]:
    """Cut patches out of an image file at its full resolution.

    Args:
        path: A file that Pillow reads, whose EXIF orientation is applied; or the ``img_path`` of a
            sample that ``LoadOverview`` has loaded, of whose file the patches alone are read.
        boxes: (k, 4), (x1, y1, x2, y2) in pixels, which are rounded to whole ones.

    Returns:
        list: k images that can be saved as PNG, zero outside of the file's image. Grey stays grey,
        of 8 or 16 bits, and colour stays colour.

    Raises:
        ValueError: The file cannot be read.
    """
    corners = np.rint(boxes).astype(int)
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 1)  # an enlarged image's patch
    source = getattr(path, 'source', None)
    if len(corners) == 0:
        return []
    if source is not None:
        if source.channels not in (1, 3):
            raise ValueError(
                f'The patches of {path} have {source.channels} channels, and a PNG holds 1 or 3.'
            )
        sides = corners[:, 2:] - corners[:, :2]  # alike, because no test pipeline resizes overviews
        places = [(top, left) for left, top, *_ in corners.tolist()]
        return [_from_pixels(window) for window in source.windows(places, *sides[0, ::-1].tolist())]
    image = _read(path)
    return [image.crop(tuple(box)) for box in corners.tolist()]


def _from_pixels(pixels: np.ndarray) -> Image.Image:
    """Convert pixels (h, w, C), grey or in the order blue, green, red."""
    if pixels.shape[2] == 1:
        return Image.fromarray(pixels[..., 0])
    if pixels.dtype != np.uint8:
        pixels = (pixels >> 8).astype(np.uint8)  # Pillow has no colours of 16 bits
    return Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))


def _read(path: str | PathLike) -> Image.Image:
    try:
        # By name, PIL would map an uncompressed TIFF into memory, which skews one on its side.
        with open(path, 'rb') as file, Image.open(file) as image:
            return _for_png(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise ValueError(f'The image {path} has {beyond_the_limit()}') from error
    # PIL's decoders raise many types of error on broken bytes.
    except Exception as error:
        raise ValueError(f'The patches of {path} cannot be cut out ({error}).') from error


def _for_png(image: Image.Image) -> Image.Image:
    if image.mode.startswith('I'):  # 16 bits; older versions of PIL store them in 32
        return image.convert('I').convert('I;16')
    if image.mode in PNG_MODES:
        return image
    return image.convert('RGBA' if image.has_transparency_data else 'RGB')
