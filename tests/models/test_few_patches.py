"""Batches of one patch, and what is done for none."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger
from torch import nn

from mmdcn.models.patches.few import batch_norms_spared, vectors_of_none

from .dcns import build_dcn, labelled

LONE = {
    'a fixed number': dict(type='TopKSelector', k=1),
    'a share of the saliency': dict(type='MassSelector', k=1, share=0.5),
    'an entropy': dict(type='EntropySelector', k=1, threshold=0.0),
}


@pytest.mark.parametrize('selector', LONE.values(), ids=LONE)
def test_a_lone_patch_trains_whatever_has_chosen_it(selector, caplog):
    dcn = build_dcn(selector=selector).train()
    statistics = {name: value.clone() for name, value in dcn.fine.named_buffers()}
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            losses = dcn.loss(torch.rand(1, 1, 100, 100), labelled(1))
    logger.removeHandler(caplog.handler)
    losses['loss_cls'].backward()
    assert losses['loss_cls'].isfinite()
    assert all(weight.grad.any() for weight in dcn.fine.parameters())
    assert all(part.training for part in dcn.modules())
    assert caplog.text.count('A batch has a single patch, and batch norms of the fine tower') == 1
    # Only the last convolution leaves a single value per channel.
    kept = {name for name, value in dcn.fine.named_buffers() if value.equal(statistics[name])}
    last = max(int(name.split('.')[1]) for name in statistics)
    assert kept == {name for name in statistics if int(name.split('.')[1]) == last}


def test_a_batch_norm_trains_on_all_but_a_single_value_per_channel():
    norm, single = nn.BatchNorm2d(3), torch.rand(1, 3, 1, 1)
    norm.running_mean.normal_()
    norm.running_var.uniform_(1, 2)
    expected = (single - norm.running_mean.view(3, 1, 1)) / (
        norm.running_var.view(3, 1, 1) + norm.eps
    ).sqrt()
    with batch_norms_spared(norm) as spared:
        torch.testing.assert_close(norm(single), expected)
        assert spared == [norm]
    assert norm.training and norm.num_batches_tracked == 0
    for more in (torch.rand(2, 3, 1, 1), torch.rand(1, 3, 1, 2)):
        before = norm.num_batches_tracked.item()
        with batch_norms_spared(norm) as spared:
            norm(more)
        assert spared == [] and norm.num_batches_tracked == before + 1


def test_an_error_leaves_batch_norms_in_training():
    norm = nn.BatchNorm1d(3)
    with pytest.raises(RuntimeError), batch_norms_spared(norm):
        norm(torch.rand(1, 3))
        raise RuntimeError
    with pytest.raises(ValueError, match='more than 1 value per channel'):
        norm(torch.rand(1, 3))


def test_the_vectors_of_none_give_all_weights_gradients_of_zero():
    tower, coarse = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)), torch.rand(2, 5, 3, 3)
    tower[0].bias.requires_grad_(False)
    vectors = vectors_of_none(tower, like=coarse.double())
    assert vectors.shape == (0, 5) and vectors.dtype == torch.float64
    vectors.sum().backward()
    assert tower[0].bias.grad is None
    assert all(not w.grad.any() for w in (tower[0].weight, tower[1].weight, tower[1].bias))
    with torch.no_grad():
        assert not vectors_of_none(tower, like=coarse).requires_grad
