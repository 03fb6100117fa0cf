import logging

import pytest
import torch
from mmengine.logging import MMLogger

from mmdcn.models import EntropySelector, MassSelector, TopKSelector
from mmdcn.structures import Measured


def test_cells_are_row_major_and_sorted_by_falling_saliency():
    saliency = torch.tensor(
        [[[0.1, 0.9, 0.3], [0.0, 0.5, 0.2]], [[0.6, 0.1, 0.2], [0.3, 0.4, 0.5]]]
    )
    cells = TopKSelector(k=3)(Measured(saliency))
    assert cells.group(cells.index).tolist() == [[1, 4, 2], [0, 5, 4]]
    assert cells.grid == (2, 3) and cells.budgets is None


def test_no_patches_are_asked_for_with_k_0():
    cells = TopKSelector(k=0)(Measured(torch.rand(2, 3, 3)))
    assert cells.group(cells.index).shape == (2, 0)


def test_all_cells_are_taken_where_k_is_larger_and_the_log_says_so_once(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    selector = TopKSelector(k=10)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            cells = selector(Measured(torch.rand(1, 2, 3)))
            assert sorted(cells.index.tolist()) == list(range(6))
    logger.removeHandler(caplog.handler)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ['TopKSelector(k=10): the coarse map has 6 cells only; all are taken.']


@pytest.mark.parametrize(
    'selector',
    [TopKSelector(k=3), EntropySelector(k=3, threshold=0.2), MassSelector(k=3, share=0.5)],
    ids=lambda selector: type(selector).__name__,
)
def test_with_a_budget_each_image_gets_as_many(selector):
    fixed = selector.with_budget(5)
    assert not fixed.adaptive and not fixed.needs_entropy and fixed.k == 5 and selector.k == 3
    cells = fixed(Measured(torch.rand(2, 4, 4), torch.zeros(2)))
    assert cells.group(cells.index).shape == (2, 5)
    with pytest.raises(ValueError, match='counts patches and must be at least 0'):
        selector.with_budget(-1)


@pytest.mark.parametrize('k', [2.5, '8', None, True])
def test_k_must_be_an_integer(k):
    with pytest.raises(
        TypeError,
        match=r'TopKSelector\(k=...\) counts patches and must be an '
        'integer, got',
    ):
        TopKSelector(k=k)


def test_k_must_not_be_negative():
    with pytest.raises(
        ValueError,
        match=r'TopKSelector\(k=...\) counts patches and must be at '
        "least 0, got -1: set the selector's k to",
    ):
        TopKSelector(k=-1)
