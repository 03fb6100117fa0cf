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
    PatchGrid,
    receptive_field,
)
from mmdcn.structures import Cells, PixelView


def whole(image, borders):
    """An image with a border of zeros."""
    return nn.functional.pad(image, (borders,) * 4)


def chosen(*index, grid=(23, 23)):
    return Cells.fixed(torch.tensor(index).view(1, -1), grid)


def test_every_cell_of_cluttered_mnist_gets_its_14_pixel_window():
    images = torch.rand(2, 1, 100, 100) + 1
    cells = Cells.fixed(torch.stack([torch.randperm(23 * 23) for _ in images]), (23, 23))
    windows = PatchGrid(size=14, stride=4, offset=-1)(cells)
    assert windows.size == (14, 14) and torch.equal(windows.image, cells.image)
    bordered = whole(images, 10)
    patches = PixelView(images).cut(windows)
    for patch, image, cell in zip(patches, cells.image.tolist(), cells.index.tolist(), strict=True):
        i, j = divmod(cell, 23)
        y, x = 10 + 4 * i - 1, 10 + 4 * j - 1
        assert torch.equal(patch, bordered[image, :, y : y + 14, x : x + 14])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_window_begins_strides_from_the_offset_whatever_the_geometry(data):
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    size, stride = (draw(1, 8), draw(1, 8)), (draw(1, 6), draw(1, 6))
    offset, grid = (draw(-6, 6), draw(-6, 6)), (draw(1, 5), draw(1, 5))
    cell = draw(0, grid[0] * grid[1] - 1)
    windows = PatchGrid(size=size, stride=stride, offset=offset)(chosen(cell, grid=grid))
    i, j = divmod(cell, grid[1])
    top, left = i * stride[0] + offset[0], j * stride[1] + offset[1]
    assert windows.corners.tolist() == [[top, left]]
    assert windows.boxes().tolist() == [[left, top, left + size[1], top + size[0]]]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_patches_a_fraction_apart_begin_at_the_nearest_pixel(data):
    stride = data.draw(st.fractions(1, 6, max_denominator=8))
    offset = data.draw(st.fractions(-5, 5, max_denominator=8))
    grid = PatchGrid(size=(4, 3), stride=float(stride), offset=float(offset))
    for cell, box in enumerate(grid.all((3, 4)).boxes().tolist()):
        top, left = (floor(step * stride + offset + Fraction(1, 2)) for step in divmod(cell, 4))
        assert box == [left, top, left + 3, top + 4]


def test_all_windows_of_a_map_are_those_of_its_cells_in_turn():
    grid = PatchGrid(size=(9, 7), stride=(4, 3), offset=(-3, 2))
    assert torch.equal(grid.all((5, 4)).corners, grid(chosen(*range(20), grid=(5, 4))).corners)


def test_images_with_budgets_of_their_own_get_their_own_windows():
    grid = PatchGrid(size=9, stride=4, offset=-3)
    ranked = torch.stack([torch.randperm(70)[:5] for _ in range(3)])
    windows = grid(Cells.budgeted(ranked, torch.tensor([2, 0, 5]), (10, 7)))
    assert windows.image.tolist() == [0, 0, 2, 2, 2, 2, 2]
    apart = [
        grid(chosen(*own.tolist(), grid=(10, 7))).corners for own in (ranked[0, :2], ranked[2])
    ]
    assert torch.equal(windows.corners, torch.cat(apart))


def test_no_cells_give_no_patches():
    cells = Cells.fixed(torch.empty(3, 0, dtype=torch.int64), (23, 23))
    windows = PatchGrid(size=14, stride=4, offset=-1)(cells)
    assert PixelView(torch.rand(3, 1, 100, 100)).cut(windows).shape == (0, 1, 14, 14)
    assert cells.group(windows.boxes()).shape == (3, 0, 4)


class TestCachedTable:
    """Corners are looked up in a table that is made once for a size of map."""

    GRID = PatchGrid(size=5, stride=(3.5, 2), offset=(-1.25, 4))

    def by_hand(self, cells):
        i, j = cells.index // cells.grid[1], cells.index % cells.grid[1]
        return torch.stack(((i * 3.5 - 1.25 + 0.5).floor().long(), j * 2 + 4), dim=1)

    @pytest.mark.parametrize('grid', [(6, 4), (4, 6), (1, 24), (30, 30)])
    def test_maps_of_other_sizes_have_corners_of_their_own(self, grid):
        for _ in range(2):
            cells = Cells.fixed(torch.randint(24, (2, 9)), grid)
            assert torch.equal(self.GRID(cells).corners, self.by_hand(cells))

    def test_grids_of_other_options_have_corners_of_their_own(self):
        cells = chosen(*range(24), grid=(6, 4))
        for offset in (0, 1):
            corners = PatchGrid(size=5, stride=2, offset=offset)(cells).corners
            assert corners.min() == offset

    def test_compiled_they_are_the_same(self):
        def corners(index, height, width):
            return self.GRID(Cells.fixed(index, (height, width))).corners

        compiled = torch.compile(corners, fullgraph=True, backend='aot_eager', dynamic=True)
        for grid in ((6, 4), (5, 9)):
            index = torch.randint(24, (2, 9))
            expected = self.by_hand(Cells.fixed(index, grid))
            assert torch.equal(compiled(index, *grid), expected)
            assert torch.equal(corners(index, *grid), expected)

    def test_a_table_made_in_inference_mode_serves_training(self):
        grid = (13, 11)  # of no other test, so that the table is made here
        with torch.inference_mode():
            cells = Cells.fixed(torch.tensor([[3, 8]]), grid)
            view = PixelView(torch.rand(1, 1, 60, 60))
            view.cut(self.GRID(cells))
        images = torch.rand(1, 1, 60, 60, requires_grad=True)
        cells = Cells.fixed(torch.tensor([[3, 8]]), grid)
        windows = self.GRID(cells)
        assert not windows.corners.is_inference() and not cells.image.is_inference()
        PixelView(images).cut(windows).sum().backward()
        assert images.grad.sum() == 2 * 20  # the first row of each is outside


@pytest.mark.parametrize('option, value', [('size', 0), ('stride', (4, -1))])
def test_sizes_and_strides_must_be_positive(option, value):
    with pytest.raises(
        ValueError,
        match=rf'PatchGrid\({option}=...\) counts pixels and must '
        'be (at least 1|positive), got',
    ):
        PatchGrid(**{'size': 14, 'stride': 4, option: value})


@pytest.mark.parametrize('size', [14.5, (14, 14, 14), '14', (14, 2.5)])
def test_a_size_that_is_no_pair_of_integers_is_named(size):
    with pytest.raises(ValueError, match='is one integer or \\(vertical, horizontal\\), got'):
        PatchGrid(size=size, stride=4)


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
    length = 2 * max(s + 2 * t - o for s, t, o in zip(*geometry, strict=True)) + 40
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
