from fractions import Fraction
from math import floor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmdcn.models import (
    ClutteredMNISTCoarse,
    ClutteredMNISTFine,
    Geometry,
    PatchExtractor,
    receptive_field,
)


def window(image, top, left, height, width):
    """Pixels of an image, zero outside of it, one by one."""
    out = torch.zeros(image.size(0), height, width)
    for y in range(height):
        for x in range(width):
            if 0 <= top + y < image.size(1) and 0 <= left + x < image.size(2):
                out[:, y, x] = image[:, top + y, left + x]
    return out


def test_every_cell_of_cluttered_mnist_gets_its_14_pixel_window():
    images = torch.rand(2, 1, 100, 100) + 1
    extractor = PatchExtractor(size=14, stride=4, offset=-1)
    cells = torch.stack([torch.randperm(23 * 23) for _ in images])
    patches = extractor(images, cells, (23, 23)).unflatten(0, (2, -1))
    bordered = torch.zeros(2, 1, 120, 120)
    bordered[:, :, 10:110, 10:110] = images
    for image in range(2):
        for patch, cell in zip(patches[image], cells[image].tolist()):
            i, j = divmod(cell, 23)
            y, x = 10 + 4 * i - 1, 10 + 4 * j - 1
            assert torch.equal(patch, bordered[image, :, y : y + 14, x : x + 14])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_patch_is_a_plain_slice_whatever_the_geometry(data):
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    image = torch.rand(1, 2, draw(5, 20), draw(5, 20))
    size, stride = (draw(1, 8), draw(1, 8)), (draw(1, 6), draw(1, 6))
    offset, grid = (draw(-6, 6), draw(-6, 6)), (draw(1, 5), draw(1, 5))
    cell = draw(0, grid[0] * grid[1] - 1)
    extractor = PatchExtractor(size=size, stride=stride, offset=offset)
    cells = torch.tensor([[cell]])
    patch = extractor(image, cells, grid)
    i, j = divmod(cell, grid[1])
    top, left = i * stride[0] + offset[0], j * stride[1] + offset[1]
    assert torch.equal(patch[0], window(image[0], top, left, *size))
    assert extractor.boxes(cells, grid).tolist() == [[[left, top, left + size[1], top + size[0]]]]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_patches_a_fraction_apart_begin_at_the_nearest_pixel(data):
    stride = data.draw(st.fractions(1, 6, max_denominator=8))
    offset = data.draw(st.fractions(-5, 5, max_denominator=8))
    image, cells = torch.rand(1, 3, 11, 17), torch.arange(12).unsqueeze(0)
    extractor = PatchExtractor(size=(4, 3), stride=float(stride), offset=float(offset))
    patches = extractor(image, cells, (3, 4))
    for cell, patch, box in zip(range(12), patches, extractor.boxes(cells, (3, 4))[0].tolist()):
        top, left = (floor(step * stride + offset + Fraction(1, 2)) for step in divmod(cell, 4))
        assert torch.equal(patch, window(image[0], top, left, 4, 3))
        assert box == [left, top, left + 3, top + 4]


def test_patches_of_a_batch_are_those_of_its_images_and_keep_their_type():
    images = torch.randint(256, (3, 2, 40, 30), dtype=torch.uint8)
    extractor = PatchExtractor(size=9, stride=4, offset=-3)
    cells = torch.stack([torch.randperm(70)[:5] for _ in images])
    apart = [extractor(image[None], own[None], (10, 7)) for image, own in zip(images, cells)]
    together = extractor(images, cells, (10, 7))
    assert together.dtype == torch.uint8 and torch.equal(together, torch.cat(apart))
    unlike_strides = images.to(memory_format=torch.channels_last)
    assert torch.equal(extractor(unlike_strides, cells, (10, 7)), together)


def test_no_cells_give_no_patches():
    extractor = PatchExtractor(size=14, stride=4, offset=-1)
    cells = torch.empty(3, 0, dtype=torch.int64)
    assert extractor(torch.rand(3, 1, 100, 100), cells, (23, 23)).shape == (0, 1, 14, 14)
    assert extractor.boxes(cells, (23, 23)).shape == (3, 0, 4)


@pytest.mark.parametrize('option, value', [('size', 0), ('stride', (4, -1))])
def test_sizes_and_strides_must_be_positive(option, value):
    with pytest.raises(
        ValueError,
        match=rf'PatchExtractor\({option}=...\) counts pixels and must '
        'be (at least 1|positive), got',
    ):
        PatchExtractor(**{'size': 14, 'stride': 4, option: value})


@pytest.mark.parametrize('size', [14.5, (14, 14, 14), '14', (14, 2.5)])
def test_a_size_that_is_no_pair_of_integers_is_named(size):
    with pytest.raises(ValueError, match='is one integer or \\(vertical, horizontal\\), got'):
        PatchExtractor(size=size, stride=4)


def test_a_coarse_cell_of_cluttered_mnist_sees_11_pixels_at_stride_4():
    assert ClutteredMNISTCoarse().geometry == Geometry((11, 11), (4, 4), (0, 0))


def test_the_fine_tower_reduces_just_14_pixels_to_one_vector():
    assert ClutteredMNISTFine()(torch.rand(3, 1, 14, 14))[-1].shape == (3, 24, 1, 1)
    assert ClutteredMNISTFine()(torch.rand(1, 1, 100, 100))[-1].shape == (1, 24, 22, 22)


def probe(stack, length, cell):
    """First and last pixel, and row likewise, that move a cell: by gradients of ones."""
    image = torch.ones(1, 1, length, length, requires_grad=True)
    out = stack(image)
    out[0, :, cell[0], cell[1]].sum().backward()
    rows, columns = image.grad[0, 0].nonzero(as_tuple=True)
    return (rows.min(), columns.min()), (rows.max(), columns.max()), out.shape[-2:]


layers = st.tuples(
    st.sampled_from(['conv', 'pool']),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(1, 2),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(layers, min_size=1, max_size=4))
def test_the_derived_geometry_is_what_gradients_reach(recipe):
    stack = nn.Sequential()
    for kind, kernel_y, kernel_x, stride_y, stride_x, padding, dilation in recipe:
        kernel, stride = (kernel_y, kernel_x), (stride_y, stride_x)
        if kind == 'conv':
            layer = nn.Conv2d(1, 1, kernel, stride, padding, dilation, bias=False)
            nn.init.constant_(layer.weight, 1.0)
            stack.append(layer).append(nn.ReLU())
        else:
            padding = min(padding, min(kernel) // 2)
            stack.append(nn.AvgPool2d(kernel, stride, padding))
    geometry = receptive_field(stack)
    length = 2 * max(s + 2 * t - o for s, t, o in zip(*geometry)) + 40
    with torch.no_grad():
        rows, columns = stack(torch.zeros(1, 1, length, length)).shape[-2:]
    cell = rows // 2, columns // 2
    first, last, _ = probe(stack, length, cell)
    for axis in range(2):
        # A stride larger than the kernel leaves holes inside, never at the ends.
        start = cell[axis] * geometry.stride[axis] + geometry.offset[axis]
        assert first[axis] == start
        assert last[axis] == start + geometry.size[axis] - 1


def test_a_whole_grid_is_as_large_as_the_tower_says():
    tower = ClutteredMNISTCoarse().eval()
    for height, width in ((11, 11), (100, 100), (57, 83)):
        with torch.no_grad():
            assert tower.geometry.grid((height, width)) == tuple(
                tower(torch.rand(1, 1, height, width))[-1].shape[-2:]
            )


@pytest.mark.parametrize(
    'layer', [nn.Conv2d(1, 1, 3, padding='same'), nn.MaxPool2d(2, ceil_mode=True)]
)
def test_a_layer_whose_padding_depends_on_the_image_is_named(layer):
    with pytest.raises(ValueError, match="geometry of layer '1'.*give its padding in pixels"):
        receptive_field(nn.Sequential(nn.ReLU(), layer))


@pytest.mark.parametrize(
    'tower, size, least',
    [(ClutteredMNISTCoarse, (10, 40), '11×11'), (ClutteredMNISTFine, (13, 14), '14×14')],
)
def test_an_image_too_small_for_a_tower_is_named(tower, size, least):
    with pytest.raises(
        ValueError,
        match=f'{tower.__name__} needs an input of at least {least} '
        f'pixels, got {size[0]}×{size[1]}: enlarge the image',
    ):
        tower()(torch.rand(1, 1, *size))
