import pytest
import torch
from mmengine.config import Config

from mmdcn.models import MegapixelMNISTCoarse, MegapixelMNISTFine
from mmdcn.registry import MODELS

from ..conftest import ROOT


@pytest.fixture(scope='module')
def dcn():
    return MODELS.build(
        Config.fromfile(ROOT / 'configs' / '_base_' / 'models' / 'megapixel_mnist_dcn.py').model
    )


def test_a_coarse_cell_sees_13_pixels_at_stride_4():
    tower = MegapixelMNISTCoarse(channels=(2, 3, 4)).eval()
    image = torch.rand(1, 1, 61, 45, requires_grad=True)
    (features,) = tower(image)
    assert features.shape == (1, 4, 16, 12)
    (gradient,) = torch.autograd.grad(features[0, :, 7, 5].sum(), image)
    rows, columns = gradient[0, 0].nonzero().unbind(1)
    assert rows.min() >= 4 * 7 - 6 and rows.max() <= 4 * 7 + 6
    assert columns.min() >= 4 * 5 - 6 and columns.max() <= 4 * 5 + 6


def test_a_patch_becomes_one_vector_and_an_image_a_map_at_stride_8():
    tower = MegapixelMNISTFine().eval()
    assert tower(torch.rand(2, 1, 64, 64))[0].shape == (2, 64, 1, 1)
    image = torch.rand(1, 1, 80, 96)
    (features,) = tower(image)
    assert features.shape == (1, 64, 3, 5)
    torch.testing.assert_close(features[:, :, 1:2, 3:4], tower(image[:, :, 8:72, 24:88])[0])


def test_a_patch_enlarged_four_times_becomes_one_vector_too():
    tower = MegapixelMNISTFine(enlarged=4).eval()
    assert tower(torch.rand(2, 1, 256, 256))[0].shape == (2, 64, 1, 1)
    with pytest.raises(ValueError, match='MegapixelMNISTFine needs an input of at least 244×244'):
        tower(torch.rand(1, 1, 240, 256))


def test_a_patch_too_small_is_named():
    with pytest.raises(ValueError, match='MegapixelMNISTFine needs an input of at least 61×61'):
        MegapixelMNISTFine()(torch.rand(1, 1, 60, 60))


@pytest.mark.parametrize('size', [500, 1500])
def test_wherever_a_digit_lies_a_patch_holds_it_whole(dcn, size):
    """28 pixels, along one axis; a patch may reach outside of the image."""
    cells = dcn.coarse(torch.rand(1, 1, size // 8, 8))[0].size(2)
    boxes = dcn.grid.all((cells, 1)).boxes()
    starts, ends = boxes[:, 1], boxes[:, 3]
    for top in range(size - 28 + 1):
        assert ((starts <= top) & (ends >= top + 28)).any(), top


def test_wherever_an_enlarged_digit_lies_a_patch_holds_it_whole():
    """112 pixels of an image that the coarse tower sees at 1/32."""
    path = ROOT / 'configs' / '_base_' / 'models' / 'large_images_dcn.py'
    dcn = MODELS.build(Config.fromfile(path).model)
    size = 2000
    cells = dcn.coarse(torch.rand(1, 1, size // 32, 8))[0].size(2)
    boxes = dcn.grid.all((cells, 1)).boxes()
    starts, ends = boxes[:, 1], boxes[:, 3]
    for top in range(size - 112 + 1):
        assert ((starts <= top) & (ends >= top + 112)).any(), top
