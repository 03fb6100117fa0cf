import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdcn.analysis import peak_memory
from mmdcn.structures import shrink


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(16, 60),
    st.integers(16, 60),
    st.sampled_from([0.125, 0.2, 0.25, 0.3, 0.5, 0.75]),
)
def test_bytes_are_shrunk_as_torch_shrinks_them(number, channels, height, width, scale):
    images = torch.randint(256, (number, channels, height, width), dtype=torch.uint8)
    expected = F.interpolate(images, scale_factor=scale, mode='bilinear', antialias=True)
    assert torch.equal(shrink(images, scale), expected)


def test_a_block_of_pixels_counts_as_its_mean():
    images = torch.zeros(1, 1, 32, 32)
    images[..., 16:20, 8:12] = 16.0
    small = shrink(images, 0.25)
    assert small.shape == (1, 1, 8, 8)
    torch.testing.assert_close(small.sum(), images.sum() / 16)
    assert small.argmax() == 4 * 8 + 2


def test_to_a_single_pixels_width_bytes_are_shrunk_as_floats():
    images = torch.randint(256, (1, 3, 40, 8), dtype=torch.uint8)
    expected = F.interpolate(images.float(), scale_factor=0.125, mode='bilinear', antialias=True)
    assert torch.equal(shrink(images, 0.125), expected)


def test_an_image_of_which_nothing_would_be_left_is_named():
    with pytest.raises(
        ValueError,
        match='Of an image of 40×7 pixels nothing is left at a scale of 0.125: enlarge the image',
    ):
        shrink(torch.rand(1, 1, 40, 7), 0.125)


def test_no_scale_leaves_the_image_as_it_is():
    images = torch.rand(1, 1, 5, 5)
    assert shrink(images, 1.0) is images


def test_large_bytes_are_shrunk_in_less_memory_than_they_take():
    images = torch.randint(256, (1, 3, 1024, 1024), dtype=torch.uint8)
    assert peak_memory(lambda: shrink(images, 0.25)) < images.nbytes
