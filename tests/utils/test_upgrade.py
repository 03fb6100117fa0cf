"""What version 0.1.0 has trained is still read."""

import json

import numpy as np
import pytest

from mmdcn import DCNInferencer
from mmdcn.utils.upgrade import upgrade

from ..conftest import ROOT

DATA = ROOT / 'tests' / 'data'


@pytest.mark.parametrize('model', ['coarse', 'fine', 'dcn'])
def test_a_checkpoint_of_0_1_0_predicts_what_it_predicted_then(model):
    expected = json.loads((DATA / 'predictions-0.1.0.json').read_text())[model]
    inferencer = DCNInferencer(DATA / f'{model}-0.1.0.pth', device='cpu')
    (found,) = inferencer(ROOT / 'demo' / 'cluttered_mnist.png')
    np.testing.assert_allclose(found['pred_scores'], expected['pred_scores'], rtol=1e-5)
    if model == 'dcn':  # its head reads less than it did then
        assert found['cost']['total'] < expected['cost']
        assert found['patch_bboxes'].tolist() == expected['patch_bboxes']
    else:
        assert found['cost']['total'] == expected['cost']


def test_names_are_found_at_any_depth_and_with_a_scope():
    dcn = dict(
        type='mmdcn.DCNClassifier',
        patch_extractor=dict(type='mmdcn.PatchExtractor', size=14, stride=4),
        hint=dict(type='mmdcn.HintLoss', loss_weight=0.1),
        saliency=dict(type='mmdcn.OracleCells', patch_extractor=dict(type='PatchExtractor')),
    )
    assert upgrade(dict(models=[dict(module=dcn)])) == dict(
        models=[
            dict(
                module=dict(
                    type='mmdcn.DCNClassifier',
                    grid=dict(type='mmdcn.PatchGrid', size=14, stride=4),
                    losses=dict(
                        hint=dict(type='mmdcn.HintLoss', loss_weight=0.1),
                        patch_hit=dict(type='mmdcn.PatchHitRate'),
                    ),
                    saliency=dict(type='mmdcn.OracleCells'),
                )
            )
        ]
    )
    assert 'patch_extractor' in dcn  # what is given stays as it is
