import runpy
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdcn.apis import DCNInferencer
from mmdcn.models import EntropySelector, MassSelector
from mmdcn.structures import Measured

from ..analysis.test_cost import BACK, CHANGE, COARSE_TOWER, HEAD, LAST, PATCH
from ..apis.inferencers import SLIM_DCN
from ..conftest import ROOT
from .running import QUICK, run_tool

TOOL = ROOT / 'tools' / 'demo_app.py'
OPTIONS = dict(k=8, threshold=0.05, share=0.1)


@pytest.fixture(scope='module')
def app():
    """What the tool defines."""
    return SimpleNamespace(**runpy.run_path(str(TOOL)))


@pytest.fixture(scope='module')
def explorer(app):
    return app.Explorer(DCNInferencer('dcn-k8-hint'))


@pytest.fixture
def image():
    """Clutter without a digit."""
    return np.random.default_rng(0).integers(0, 256, (100, 100), dtype=np.uint8)


@pytest.mark.parametrize('k', [0, 3, 24])
def test_the_slider_sets_patches_and_cost(app, explorer, image, k):
    answer = explorer(image, app.FIXED, **{**OPTIONS, 'k': k})
    assert (answer.patches, answer.cells) == (k, 23 * 23)
    rest = COARSE_TOWER + HEAD + LAST + BACK
    assert sum(answer.parts.values()) == rest + k * (PATCH + CHANGE)
    assert answer.seconds > 0
    assert answer.picture.dtype == np.uint8 and answer.picture.shape[2] == 3


def test_the_prediction_is_that_of_the_plain_model(app, explorer, image):
    answer = explorer(image, app.FIXED, **OPTIONS)
    (expected,) = DCNInferencer('dcn-k8-hint')(image)
    assert list(answer.labels)[expected['pred_label']] == expected['pred_class']
    np.testing.assert_allclose(list(answer.labels.values()), expected['pred_scores'], atol=1e-4)


@pytest.mark.parametrize(
    'budget, changed',
    [
        ('ENTROPY', dict(threshold=1.0)),
        ('ENTROPY', dict(threshold=0.01)),
        ('MASS', dict(share=0.01)),
        ('MASS', dict(share=0.5, k=20)),
    ],
)
def test_adaptive_budgets_are_those_of_the_selectors(app, explorer, image, budget, changed):
    options = {**OPTIONS, **changed}
    answer = explorer(image, getattr(app, budget), **options)
    with torch.no_grad():
        inputs = torch.from_numpy(image / 255).float()[None, None]
        glance = explorer.model.extract_feat(inputs)
    selector = (
        EntropySelector(
            k=options['k'], threshold=options['threshold'], full_threshold=50 * options['threshold']
        )
        if budget == 'ENTROPY'
        else MassSelector(k=options['k'], share=options['share'])
    )
    budgets = selector.budgets(Measured(glance.saliency, glance.entropy)).clamp(max=options['k'])
    assert answer.patches == budgets.item()


def test_numbers_are_read_in_images_of_any_size(app):
    explorer = app.Explorer(
        DCNInferencer('dcn-k6-inverse-entropy_svhn', pretrained=False, **SLIM_DCN)
    )
    assert explorer.budgets == [app.FIXED, app.MASS]  # no entropy comes along
    answer = explorer(np.full((90, 250, 3), 99, np.uint8), app.FIXED, **OPTIONS)
    ((number, probability),) = answer.labels.items()
    assert number.isdecimal() and 0 < probability <= 1 and answer.patches == 8


def test_colours_reach_a_network_that_takes_them_in_its_order(app):
    cfg = Config.fromfile(ROOT / QUICK)
    model = DCNInferencer(
        cfg, pretrained=False, coarse=dict(in_channels=3), fine=dict(in_channels=3)
    )
    explorer, seen = app.Explorer(model), []
    explorer.model.coarse.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    red = np.zeros((60, 70, 3), np.uint8)
    red[..., 0] = 255
    explorer(red, app.FIXED, **OPTIONS)
    assert seen[0].mean((0, 2, 3)).tolist() == [0, 0, 1]  # BGR


def test_an_image_that_is_too_small_is_named(app, explorer):
    with pytest.raises(ValueError, match='enlarge the image'):
        explorer(np.zeros((9, 9), np.uint8), app.FIXED, **OPTIONS)


def test_a_classifier_without_patches_is_refused(app):
    with pytest.raises(ValueError, match='this ImageClassifier chooses no patches'):
        app.Explorer(DCNInferencer('coarse-w25', pretrained=False))


def test_the_cost_stands_in_a_table(app):
    answer = app.Answer(None, {}, 8, 529, dict(coarse=2_670_060, fine=9_248_256, neck=0), 0.00123)
    assert app.cost_of(answer).splitlines() == [
        '| patches | multiplications | milliseconds |',
        '|---|---|---|',
        '| 8 of 529 cells | 11,918,316 | 1.2 |',
        '',
        '<small>coarse 2,670,060 · fine 9,248,256</small>',
    ]


def test_the_drawing_board_is_as_large_as_the_networks_images(app):
    board = app.empty_board()
    assert app.drawn(board) is None and app.drawn(None) is None
    board['composite'] = board['composite'].copy()
    board['composite'][40:48, 80:84] = 255
    drawn = app.drawn(board)
    assert drawn.shape == (100, 100) and drawn.dtype == np.uint8
    assert np.argwhere(drawn == 255).tolist() == [[10, 20], [11, 20]] and drawn.sum() == 510


def test_the_page_has_a_button_for_test_images_where_there_are_some(app, explorer, mnist_root):
    cfg = Config.fromfile(ROOT / QUICK)
    cfg.test_dataloader.dataset.update(data_root=mnist_root, indices=3)
    model = SimpleNamespace(_config=cfg)
    for dataset in (app.test_images(model), None):
        page = app.build_page(explorer, dataset, 'dcn-k8-hint')
        (button,) = (part for part in page.blocks.values() if part.elem_id == 'another')
        assert button.visible == (dataset is not None)
    cfg.test_dataloader.dataset.data_root = 'nowhere'
    assert app.test_images(model) is None


def test_a_model_that_is_not_there_ends_the_tool_with_a_sentence():
    assert run_tool(TOOL, 'dcn-k9', code=1).startswith("There is no model 'dcn-k9'")


def test_gradio_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    with pytest.raises(SystemExit, match='The page needs gradio, which is not installed'):
        runpy.run_path(str(TOOL))
