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
    st.integers(16, 150),
    st.integers(16, 60),
    st.sampled_from([0.125, 0.2, 0.25, 0.3, 0.5, 0.75]),
    st.sampled_from([torch.uint8, torch.int16, torch.uint16, torch.float16]),
)
def test_every_type_is_shrunk_as_its_floats(number, channels, height, width, scale, dtype):
    images = torch.randint(256, (number, channels, height, width)).to(dtype)
    expected = F.interpolate(images.float(), scale_factor=scale, mode='bilinear', antialias=True)
    assert torch.equal(shrink(images, scale), expected)


def test_a_block_of_pixels_counts_as_its_mean():
    images = torch.zeros(1, 1, 32, 32)
    images[..., 16:20, 8:12] = 16.0
    small = shrink(images, 0.25)
    assert small.shape == (1, 1, 8, 8)
    torch.testing.assert_close(small.sum(), images.sum() / 16)
    assert small.argmax() == 4 * 8 + 2


def test_an_image_of_which_nothing_would_be_left_is_named():
    with pytest.raises(
        ValueError,
        match='Of an image of 40×7 pixels nothing is left at a scale of 0.125: enlarge the image',
    ):
        shrink(torch.rand(1, 1, 40, 7), 0.125)


def test_no_scale_leaves_the_image_as_it_is():
    images = torch.rand(1, 1, 5, 5)
    assert shrink(images, 1.0) is images


def test_large_bytes_are_shrunk_without_a_copy_of_all_in_floats():
    images = torch.randint(256, (1, 3, 1024, 1024), dtype=torch.uint8)
    # In float32: all rows, a quarter as wide; the result; and a few rows as wide as they were.
    assert peak_memory(lambda: shrink(images, 0.25)) < 4 * images.nbytes * (1 / 4 + 1 / 16 + 1 / 12)
