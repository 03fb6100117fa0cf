"""Models whose weights have half precision, as ``model.half()`` makes them."""

import pytest
import torch
from mmpretrain.structures import DataSample

from mmdcn.registry import MODELS

from .dcns import build_dcn, build_svhn_dcn

LATE = dict(type='LateNormalization', mean=[0.0], std=[255.0])
GENERALIZED_MEAN = dict(
    type='MapHead',
    in_channels=24,
    neck=dict(type='GeneralizedMeanPooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=24),
)
DCNS = {
    'entropy gradient': lambda: build_dcn(data_preprocessor=LATE),
    'entropy gradient of a number': lambda: build_svhn_dcn(saliency=dict(type='EntropyGradient')),
    'entropy gradient by autograd': lambda: build_dcn(head=MODELS.build(GENERALIZED_MEAN)),
    'certainty': build_svhn_dcn,
    'class activation': lambda: build_dcn(saliency=dict(type='ClassActivation')),
    'sums': lambda: build_dcn(
        head=MODELS.build(dict(type='GlobalSumPoolHead', num_classes=10, in_channels=24))
    ),
    'norm': lambda: build_dcn(saliency=dict(type='ActivationNorm')),
    'own budgets': lambda: build_dcn(
        selector=dict(type='EntropySelector', k=8, threshold=1e-3, full_threshold=2.0)
    ),
}


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('build', DCNS.values(), ids=DCNS)
def test_the_saliency_is_that_of_the_same_weights_in_single_precision(build, dtype):
    dcn = build().eval().to(dtype)
    image = torch.randint(256, (dcn.channels, 96, 320), dtype=torch.uint8)
    with torch.no_grad():
        data = dcn.data_preprocessor(dict(inputs=[image], data_samples=[DataSample()]))
        seen = dcn.extract_feat(data['inputs'])
        (sample,) = dcn.predict(**data)
        exact = dcn.float()
        measured = exact.saliency(seen.coarse.float(), exact.head, None)
        expected = exact.extract_feat(exact.data_preprocessor(dict(inputs=[image]))['inputs'])
    assert seen.coarse.dtype == seen.refined.dtype == dtype
    assert seen.saliency.dtype == torch.float32
    assert torch.equal(seen.saliency, measured.saliency)
    assert torch.equal(sample.cells, seen.cells.index)
    assert (seen.coarse.float() - expected.coarse).norm() < 0.02 * expected.coarse.norm()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_images_of_the_preprocessor_get_the_type_of_the_weights(dtype):
    dcn = build_dcn().eval().to(dtype)
    with torch.no_grad():
        (sample,) = dcn.test_step(dict(inputs=[torch.rand(1, 64, 64)], data_samples=[DataSample()]))
    assert sample.pred_score.dtype == dtype
