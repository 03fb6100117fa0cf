"""Inferencers with other runtimes answer as eager torch does."""

import subprocess
import sys

import mmcv
import numpy as np
import pytest
import torch

from mmdcn import DCNInferencer, get_model
from mmdcn.deployment import backends

from ..conftest import ROOT
from ..models.dcns import stir_statistics
from .inferencers import SLIM_DCN
from .test_inferencer import assert_same

DEMO = str(ROOT / 'demo' / 'cluttered_mnist.png')
CLOSE = dict(rtol=1e-3, atol=1e-4)
ADAPTIVE = dict(_delete_=True, type='EntropySelector', k=12, threshold=1e-3, full_threshold=1.0)


def noise(number: int, *shape: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (number, *shape), dtype=np.uint8))


def both(name: str, backend: str, **settings) -> list[DCNInferencer]:
    """Inferencers of one model, eager and with a backend."""
    model = get_model(name, **settings)
    stir_statistics(model)
    return [DCNInferencer(model, backend=each) for each in ('eager', backend)]


def assert_same_answers(inferencers, images, **options) -> None:
    eager, other = inferencers
    for _ in range(2):  # the first images of a size have their cost counted
        found = other(images, **options)
    for mine, theirs in zip(found, eager(images, **options), strict=True):
        assert_same(mine, theirs, **CLOSE)


def test_onnx_runtime_answers_alike_one_by_one_and_in_batches():
    inferencers = [DCNInferencer('dcn-k8-hint', backend=each) for each in ('eager', 'onnxruntime')]
    assert_same_answers(inferencers, DEMO)
    assert inferencers[1](DEMO)[0]['pred_label'] == 7
    assert_same_answers(inferencers, noise(5, 100, 100), batch_size=2)
    assert_same_answers(inferencers, noise(1, 131, 90))


@pytest.mark.parametrize(
    'name, settings, shape',
    [('fine_1xb128-60e_cluttered-mnist', {}, (100, 100)), ('dcn-k6_svhn', SLIM_DCN, (54, 110))],
    ids=['a tower alone', 'numbers'],
)
def test_onnx_runtime_answers_alike_for_other_models(name, settings, shape):
    assert_same_answers(both(name, 'onnxruntime', **settings), noise(2, *shape))


def test_onnx_runtime_answers_alike_with_budgets_by_image():
    eager, other = (
        DCNInferencer('dcn-k8-hint', selector=ADAPTIVE, backend=each)
        for each in ('eager', 'onnxruntime')
    )
    drawn = mmcv.imread(DEMO, 'grayscale')
    images = [drawn, *noise(2, 100, 100), np.roll(drawn, 20), noise(1, 100, 100)[0] // 4]
    assert len({len(result['patch_bboxes']) for result in eager(images)}) > 1
    assert_same_answers((eager, other), images, batch_size=3)


def test_a_compiled_tower_answers_alike():
    inferencers = both('coarse_1xb128-60e_cluttered-mnist', 'compile')
    assert_same_answers(inferencers, noise(2, 60, 60), batch_size=2)


def test_a_compiled_model_answers_alike_with_budgets_by_image(monkeypatch):
    # Without inductor, which takes most of the time.
    quick = torch.compile
    monkeypatch.setattr(torch, 'compile', lambda model, options: quick(model, backend='eager'))
    eager, compiled = both('dcn-k8-hint', 'compile', selector=ADAPTIVE)
    images = [image // (index + 1) for index, image in enumerate(noise(4, 100, 100))]
    assert_same_answers((eager, compiled), images, batch_size=4)


def test_sessions_of_many_sizes_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(backends, 'MOST_SESSIONS', 2)
    _, other = both('coarse_1xb128-60e_cluttered-mnist', 'onnxruntime')
    for width in (50, 60, 70):
        for _ in range(2):
            other(noise(1, 60, width))
    assert list(other._outputs._sessions) == [(1, 1, 60, 60), (1, 1, 60, 70)]


@pytest.mark.parametrize(
    'settings, backend, message',
    [
        ({}, 'tensorrt', 'one of eager, compile, onnxruntime'),
        (
            dict(saliency=dict(_delete_=True, type='RandomCells')),
            'onnxruntime',
            'RandomCells draws at random',
        ),
    ],
)
def test_what_a_backend_cannot_run_is_refused_when_it_is_chosen(settings, backend, message):
    with pytest.raises(ValueError, match=message):
        DCNInferencer(get_model('dcn-k8-hint', **settings), backend=backend)


def test_a_missing_package_is_named():
    code = (
        "import sys; sys.modules['onnx_ir'] = None; from mmdcn import DCNInferencer; "
        "DCNInferencer('dcn-k8-hint', backend='onnxruntime')"
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert "backend='onnxruntime' needs onnx_ir, which is not installed" in run.stderr


def test_an_image_too_small_for_a_tower_is_named_as_without_a_backend():
    _, other = both('dcn-k8-hint', 'onnxruntime')
    with pytest.raises(ValueError, match='cannot be classified: .* at least 11×11'):
        other(noise(1, 8, 8))


def test_images_of_other_types_than_bytes_are_refused():
    _, other = both('dcn-k8-hint', 'onnxruntime')
    image = noise(1, 100, 100)[0]
    other(image)
    pipeline = other.pipeline
    other.pipeline = lambda given: {**(data := pipeline(given)), 'inputs': data['inputs'].float()}
    with pytest.raises(ValueError, match='takes uint8 images'):
        other(image)
