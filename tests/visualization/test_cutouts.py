import numpy as np
import pytest
from PIL import Image

from mmdcn.visualization.cutouts import cut_patches

BOXES = np.array([[2, 1, 6, 4], [-2, -1, 2, 2], [7, 4, 11, 7]], dtype=np.float32)  # of 4×3 pixels


def noise(*shape, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(1, np.iinfo(dtype).max, shape, dtype=dtype)


def expected(pixels: np.ndarray) -> list[np.ndarray]:
    """Cut from an image in a wide frame of zeros."""
    framed = np.pad(pixels, [(9, 9), (9, 9), *[(0, 0)] * (pixels.ndim - 2)])
    return [framed[y1 + 9 : y2 + 9, x1 + 9 : x2 + 9] for x1, y1, x2, y2 in BOXES.astype(int)]


@pytest.mark.parametrize(
    'pixels', [noise(5, 8), noise(5, 8, 3), noise(5, 8, 4), noise(5, 8, dtype=np.uint16)]
)
def test_patches_are_the_pixels_of_the_file_and_zero_outside(pixels, tmp_path):
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    patches = cut_patches(tmp_path / 'image.png', BOXES)
    for place, (patch, wanted) in enumerate(zip(patches, expected(pixels), strict=True)):
        patch.save(tmp_path / f'{place}.png')
        saved = np.asarray(Image.open(tmp_path / f'{place}.png'))
        assert saved.dtype == pixels.dtype
        np.testing.assert_array_equal(saved, wanted)


@pytest.mark.parametrize(
    'mode, suffix', [('P', 'png'), ('CMYK', 'tiff'), ('YCbCr', 'jpg'), ('I;16B', 'tiff')]
)
def test_modes_that_png_lacks_are_black_outside_too(mode, suffix, tmp_path):
    image = Image.new('I;16B', (8, 5), 999) if mode == 'I;16B' else Image.new('RGB', (8, 5), 'red')
    image.convert(mode).save(tmp_path / f'image.{suffix}')
    _, corner, _ = cut_patches(tmp_path / f'image.{suffix}', BOXES)
    corner.save(tmp_path / 'corner.png')
    pixels = np.asarray(Image.open(tmp_path / 'corner.png'))
    assert not pixels[:1].any() and not pixels[:, :2].any()
    assert (pixels[1:, 2:].reshape(4, -1) == pixels[1, 2].ravel()).all() and pixels[1, 2].any()


def test_an_image_on_its_side_is_cut_upright(tmp_path):
    pixels = noise(5, 8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    Image.fromarray(np.rot90(pixels)).save(tmp_path / 'image.png', exif=exif)
    for patch, wanted in zip(
        cut_patches(tmp_path / 'image.png', BOXES), expected(pixels), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(patch), wanted)


def test_edges_are_rounded_and_a_patch_has_a_pixel_at_least(tmp_path):
    Image.fromarray(noise(5, 8)).save(tmp_path / 'image.png')
    boxes = np.array([[0.8, 1.1, 4.2, 2.9], [2.1, 2.1, 2.4, 2.4]], dtype=np.float32)
    large, small = cut_patches(tmp_path / 'image.png', boxes)
    assert large.size == (3, 2) and small.size == (1, 1)


def test_a_file_that_pil_cannot_read_is_named(tmp_path):
    (tmp_path / 'broken.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match='The patches of .*broken.png cannot be cut out'):
        cut_patches(tmp_path / 'broken.png', BOXES)


def test_an_image_without_patches_is_not_read():
    assert cut_patches('no-such-file', np.zeros((0, 4))) == []
