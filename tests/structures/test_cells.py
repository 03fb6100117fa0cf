import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdcn.structures import Cells

RANKED = torch.tensor([[3, 1, 9], [0, 11, 7]])
FIXED = Cells.fixed(RANKED, (3, 4))


def budgeted(*budgets):
    return Cells.budgeted(RANKED, torch.tensor(budgets), (3, 4))


def test_of_a_fixed_number_the_cells_of_the_first_image_come_first():
    assert len(FIXED) == 6 and FIXED.grid == (3, 4) and FIXED.budgets is None
    assert FIXED.index.tolist() == [3, 1, 9, 0, 11, 7]
    assert FIXED.image.tolist() == [0, 0, 0, 1, 1, 1]
    assert FIXED.weights is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_of_budgets_the_first_cells_of_each_image_are_taken(budgets):
    ranked = torch.stack([torch.randperm(9)[:4] for _ in budgets])
    cells = Cells.budgeted(ranked, torch.tensor(budgets), (3, 3))
    assert cells.budgets.tolist() == budgets and len(cells) == sum(budgets)
    assert list(zip(cells.image.tolist(), cells.index.tolist(), strict=True)) == [
        (image, ranked[image, rank].item())
        for image, budget in enumerate(budgets)
        for rank in range(budget)
    ]
    assert [own.tolist() for own in cells.split(cells.index)] == [
        row[:budget] for row, budget in zip(ranked.tolist(), budgets, strict=True)
    ]


def test_rows_of_a_fixed_number_are_grouped_by_image():
    rows = torch.rand(6, 5, 2)
    grouped = FIXED.group(rows)
    assert grouped.shape == (2, 3, 5, 2) and torch.equal(grouped[1, 0], rows[3])
    assert torch.equal(FIXED.split(rows), grouped)
    assert torch.equal(FIXED.group(FIXED.index), RANKED)


def test_budgets_of_their_own_have_no_group():
    cells = budgeted(1, 3)
    with pytest.raises(ValueError, match='no common number of patches k: choose TopKSelector'):
        cells.group(cells.index)


def test_vectors_are_read_where_the_cells_are():
    feature_map = torch.rand(2, 5, 3, 4)
    for cells in (FIXED, budgeted(1, 2)):
        vectors = cells.gather(feature_map)
        assert vectors.shape == (len(cells), 5)
        for vector, image, cell in zip(
            vectors, cells.image.tolist(), cells.index.tolist(), strict=True
        ):
            assert torch.equal(vector, feature_map[image, :, cell // 4, cell % 4])


@pytest.mark.parametrize('cells', [FIXED, budgeted(1, 3), budgeted(0, 0)])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_vectors_are_written_there_into_a_copy_of_the_map(cells, layout):
    feature_map = torch.rand(2, 5, 3, 4).to(memory_format=layout)
    before, vectors = feature_map.clone(), torch.rand(len(cells), 5)
    found = cells.replace(feature_map, vectors)
    assert torch.equal(feature_map, before)
    expected = before.clone()
    for vector, image, cell in zip(
        vectors, cells.image.tolist(), cells.index.tolist(), strict=True
    ):
        expected[image, :, cell // 4, cell % 4] = vector
    assert torch.equal(found, expected)
    torch.testing.assert_close(cells.gather(found), vectors)


def test_gradients_of_a_replaced_map_go_where_its_vectors_come_from():
    feature_map = torch.rand(2, 5, 3, 4, requires_grad=True)
    vectors = torch.rand(6, 5, requires_grad=True)
    FIXED.replace(feature_map, vectors).sum().backward()
    assert (vectors.grad == 1).all()
    assert (FIXED.gather(feature_map.grad) == 0).all() and feature_map.grad.sum() == 5 * (24 - 6)


def test_cells_that_do_not_count_alike_keep_their_weights():
    weights = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.4, 0.0]])
    drawn = Cells.fixed(torch.tensor([[3, 3, 1], [0, 2, 0]]), (3, 4), weights)  # some twice
    assert torch.equal(drawn.group(drawn.weights), weights) and len(drawn) == 6
    mean = drawn.group(drawn.gather(torch.ones(2, 5, 3, 4)) * drawn.weights[:, None]).sum(dim=1)
    torch.testing.assert_close(mean, torch.ones(2, 5))
