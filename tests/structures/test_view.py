import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdcn.analysis import peak_memory
from mmdcn.structures import PixelView, Windows, shrink


def windows_of(corners, size, image=None):
    corners = torch.tensor(corners, dtype=torch.int64).view(-1, 2)
    image = torch.zeros(len(corners), dtype=torch.int64) if image is None else torch.tensor(image)
    return Windows(image, corners, size)


def window(image, top, left, height, width):
    """Pixels of an image, zero outside of it, one by one."""
    out = torch.zeros(image.size(0), height, width, dtype=image.dtype)
    for y in range(height):
        for x in range(width):
            if 0 <= top + y < image.size(1) and 0 <= left + x < image.size(2):
                out[:, y, x] = image[:, top + y, left + x]
    return out


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_window_is_a_plain_slice_wherever_it_lies(data):
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    images = torch.rand(2, 2, draw(1, 12), draw(1, 12)) + 1
    size, image = (draw(1, 6), draw(1, 6)), [draw(0, 1) for _ in range(3)]
    corners = [(draw(-9, 15), draw(-9, 15)) for _ in image]
    found = PixelView(images).cut(windows_of(corners, size, image))
    assert found.shape == (3, 2, *size)
    for patch, own, corner in zip(found, image, corners, strict=True):
        assert torch.equal(patch, window(images[own], *corner, *size))


@pytest.mark.parametrize(
    'corner', [(-5, 0), (0, -4), (20, 0), (0, 30), (-100, -100), (10**6, 3), (-5, 30)]
)
def test_a_window_wholly_outside_is_zero(corner):
    images = torch.rand(3, 2, 20, 30) + 1
    found = PixelView(images).cut(windows_of([corner] * 3, (5, 4), [0, 1, 2]))
    assert found.shape == (3, 2, 5, 4) and not found.any()


def test_patches_of_a_batch_are_those_of_its_images_and_keep_their_type():
    images = torch.randint(256, (3, 2, 40, 30), dtype=torch.uint8)
    corners = torch.randint(-8, 40, (15, 2)).tolist()
    image = [0] * 5 + [1] * 5 + [2] * 5
    together = PixelView(images).cut(windows_of(corners, (9, 7), image))
    apart = [
        PixelView(images[own : own + 1]).cut(windows_of(corners[5 * own : 5 * own + 5], (9, 7)))
        for own in range(3)
    ]
    assert together.dtype == torch.uint8 and torch.equal(together, torch.cat(apart))
    unlike_strides = PixelView(images.to(memory_format=torch.channels_last))
    assert torch.equal(unlike_strides.cut(windows_of(corners, (9, 7), image)), together)


def test_a_window_that_reaches_outside_sees_nothing_of_other_images():
    images = torch.full((3, 2, 6, 5), float('nan'))
    images[1] = torch.rand(2, 6, 5)
    corners = [(-3, -2), (4, 3), (-3, 3), (20, -20)]
    found = PixelView(images).cut(windows_of(corners, (4, 4), [1] * 4))
    for patch, corner in zip(found, corners, strict=True):
        assert torch.equal(patch, window(images[1], *corner, 4, 4))


def test_an_empty_batch_and_no_windows_give_no_patches():
    none = windows_of([], (9, 7))
    for number in (0, 3):
        assert PixelView(torch.rand(number, 2, 20, 20)).cut(none).shape == (0, 2, 9, 7)


def test_gradients_flow_to_the_pixels_of_the_windows_and_no_others():
    images = torch.rand(1, 1, 6, 6, requires_grad=True)
    PixelView(images).cut(windows_of([(-1, 4), (0, 4)], (3, 3))).sum().backward()
    expected = torch.zeros(6, 6)
    expected[:2, 4:] += 1
    expected[:3, 4:] += 1
    assert torch.equal(images.grad[0, 0], expected)


def test_what_is_normalised_late_is_normalised_after_shrinking_and_cutting():
    images = torch.randint(256, (1, 1, 16, 16), dtype=torch.uint8)
    view = PixelView(images, normalize=lambda pixels: pixels / 255 - 1)
    torch.testing.assert_close(view.overview(0.5), shrink(images, 0.5) / 255 - 1)
    (patch,) = view.cut(windows_of([(-1, 0)], (2, 2)))
    torch.testing.assert_close(patch[0, 0], torch.full((2,), -1.0))  # outside is 0 before it
    torch.testing.assert_close(patch[0, 1], images[0, 0, 0, :2] / 255 - 1)


def test_an_overview_of_the_whole_scale_is_the_image():
    images = torch.rand(1, 1, 5, 5)
    assert PixelView(images).overview(1.0) is images


def test_cutting_takes_the_memory_of_what_is_cut():
    images = torch.rand(1, 3, 2000, 2000)
    windows = windows_of([(-10, 0), (1990, 3)], (32, 32))
    assert peak_memory(lambda: PixelView(images).cut(windows)) < 10 * 2 * 3 * 32 * 32 * 8
