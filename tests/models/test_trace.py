"""torch.jit.trace takes a DCN, for other images of one size than those that were traced."""

import pytest
import torch
from mmengine.analysis import get_model_complexity_info

from mmdcn.analysis import count_multiplications

from .dcns import build_dcn, build_svhn_dcn

pytestmark = [
    pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning'),
    pytest.mark.filterwarnings('ignore::DeprecationWarning'),
]
MAP_HEAD = dict(
    type='MapHead',
    in_channels=24,
    neck=dict(type='GeneralizedMeanPooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=24),
)


@pytest.mark.parametrize(
    'build, size',
    [
        (build_dcn, (1, 100, 87)),
        (lambda: build_dcn(coarse_scale=0.5), (1, 100, 87)),
        (lambda: build_dcn(selector=dict(k=30)), (1, 27, 27)),  # 25 cells
        (lambda: build_dcn(saliency=dict(type='ClassActivation')), (1, 60, 60)),
        (build_svhn_dcn, (1, 70, 150)),
    ],
)
def test_a_traced_dcn_says_of_other_images_what_the_dcn_says(build, size):
    dcn = build().eval()
    with torch.no_grad():
        traced = torch.jit.trace(dcn, torch.rand(2, *size), check_trace=False)
        for number in (2, 1, 3):
            images = torch.rand(number, *size)
            torch.testing.assert_close(traced(images), dcn(images))


@pytest.mark.parametrize(
    'parts, message',
    [
        (
            dict(selector=dict(type='MassSelector', share=0.5)),
            'cannot follow budgets that differ from image to image: choose TopKSelector',
        ),
        (
            dict(saliency=dict(type='EntropyGradient', head=MAP_HEAD)),
            'cannot follow a gradient that autograd computes: choose ClassActivation',
        ),
    ],
)
def test_what_a_trace_cannot_follow_is_refused(parts, message):
    with pytest.raises(ValueError, match=message), torch.no_grad():
        torch.jit.trace(build_dcn(**parts).eval(), torch.rand(1, 1, 60, 60))


def test_mmengine_counts_about_what_is_counted_here():
    dcn = build_dcn().eval()
    with torch.no_grad():
        found = get_model_complexity_info(dcn, (1, 100, 100), show_table=False, show_arch=False)
    assert found['flops'] == pytest.approx(
        count_multiplications(dcn, torch.rand(1, 1, 100, 100)), rel=0.03
    )
