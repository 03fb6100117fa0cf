"""A head that has read the coarse map reads only what the refined map changes."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from mmdcn.deployment import optimize_for_inference
from mmdcn.models import GlobalMaxPoolHead
from mmdcn.structures import Cells, ChangedMap

from .dcns import build_dcn, stir_statistics


def head_of(**options):
    head = GlobalMaxPoolHead(num_classes=10, in_channels=6, mid_channels=16, **options)
    stir_statistics(head)
    return head.double().eval()


@pytest.mark.parametrize(
    'kernel, stride, size',
    [(4, 2, (23, 23)), (3, 1, (5, 9)), (2, 3, (8, 10)), (1, 2, (4, 5)), (5, 2, (5, 5))],
)
@pytest.mark.parametrize('images', [1, 3])
def test_the_changes_say_as_much_as_the_whole_map(kernel, stride, size, images):
    head = head_of(kernel_size=kernel, stride=stride)
    coarse = torch.randn(images, 6, *size, dtype=torch.float64)
    chosen = torch.stack([torch.randperm(size[0] * size[1])[:7] for _ in range(images)])
    cells = Cells.fixed(chosen, size)
    new = torch.randn(len(cells), 6, dtype=torch.float64)
    with torch.no_grad():
        kept = head.look(coarse)[2]
        changed = ChangedMap(kept, cells, new - cells.gather(coarse))
        torch.testing.assert_close(head(changed), head(cells.replace(coarse, new)))


def test_a_norm_over_all_cells_keeps_nothing():
    head = head_of(norm_cfg=dict(type='GN', num_groups=4))
    assert head.look(torch.rand(1, 6, 9, 9, dtype=torch.float64))[2] is None


@pytest.mark.parametrize('folded', [False, True])
@pytest.mark.parametrize(
    'selector',
    [
        dict(type='TopKSelector', k=8),
        dict(type='TopKSelector', k=0),
        dict(type='EntropySelector', k=9, threshold=1.0, full_threshold=2.5),
    ],
)
def test_a_dcn_predicts_what_the_refined_map_says(selector, folded):
    dcn = build_dcn(selector=selector).eval()
    dcn = optimize_for_inference(dcn) if folded else dcn
    images = torch.rand(4, 1, 100, 100)
    with torch.no_grad():
        seen = dcn.extract_feat(images)
        assert seen.kept is not None
        torch.testing.assert_close(dcn(images), dcn.head((seen.refined,)), rtol=1e-4, atol=1e-5)


class Halved(nn.Module):
    """A neck whose map is not the coarse one with other vectors."""

    takes_vectors = takes_budgets = True

    def forward(self, coarse, fine, cells):
        return cells.replace(coarse, fine) / 2


@pytest.mark.parametrize(
    'parts, training, context',
    [
        pytest.param({}, True, torch.no_grad, id='batch statistics'),
        pytest.param({}, False, nullcontext, id='gradients'),
        pytest.param(dict(neck=Halved()), False, torch.no_grad, id='another neck'),
        pytest.param(
            dict(
                saliency=dict(
                    type='EntropyGradient',
                    head=dict(type='GlobalMaxPoolHead', num_classes=10, in_channels=24),
                )
            ),
            False,
            torch.no_grad,
            id='a head of the saliency',
        ),
    ],
)
def test_the_whole_map_is_read_where_the_head_knows_another(parts, training, context):
    dcn = build_dcn(**parts).train(training)
    with context():
        assert dcn.extract_feat(torch.rand(2, 1, 100, 100)).kept is None


def test_gradients_of_a_model_in_evaluation_mode_are_those_of_the_whole_map():
    dcn = build_dcn().eval()
    dcn(torch.rand(2, 1, 100, 100)).sum().backward()
    assert all(weight.grad is not None for weight in dcn.parameters())


def test_autocast_reads_changes_too():
    dcn = build_dcn().eval()
    images = torch.rand(2, 1, 100, 100)
    with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16):
        seen = dcn.extract_feat(images)
        assert seen.kept is not None
        torch.testing.assert_close(
            dcn(images).float(), dcn.head((seen.refined,)).float(), rtol=0.05, atol=0.05
        )
