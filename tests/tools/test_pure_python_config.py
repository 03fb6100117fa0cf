"""A config in MMEngine's pure-Python style, with classes as types, through all tools."""

import json

import pytest

from mmdcn import DCNInferencer

from ..conftest import ROOT
from .running import run_tool

BASE = """
from mmengine.dataset import DefaultSampler
from mmpretrain.datasets import PackInputs
from mmpretrain.evaluation import Accuracy

from mmdcn.datasets import ClutteredMNIST

data_preprocessor = dict(mean=[0.0], std=[255.0], num_classes=10)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=ClutteredMNIST,
        data_root='{root}',
        split='val',
        indices=4,
        pipeline=[dict(type=PackInputs)],
    ),
)
val_dataloader = test_dataloader = train_dataloader
val_evaluator = test_evaluator = dict(type=Accuracy, topk=(1,))
"""
CONFIG = """
from mmengine.config import read_base

with read_base():
    from .base import *

from mmengine.model import PretrainedInit
from mmengine.optim import LinearLR, OptimWrapper
from mmpretrain.models import Mixup
from torch.optim import Adam

from mmdcn.models import (
    ClutteredMNISTCoarse,
    ClutteredMNISTFine,
    DCNClassifier,
    EntropyGradient,
    GlobalMaxPoolHead,
    HintLoss,
    PatchGrid,
    SwapRefine,
    TopKSelector,
)

model = dict(
    type=DCNClassifier,
    coarse=dict(type=ClutteredMNISTCoarse),
    saliency=dict(type=EntropyGradient),
    selector=dict(type=TopKSelector, k=8),
    grid=dict(type=PatchGrid, size=14, stride=4, offset=-1),
    fine=dict(type=ClutteredMNISTFine),
    neck=dict(type=SwapRefine),
    head=dict(type=GlobalMaxPoolHead, num_classes=10, in_channels=24),
    losses=dict(hint=dict(type=HintLoss, loss_weight=0.01)),
    train_cfg=dict(augments=dict(type=Mixup, alpha=1.0)),
    init_cfg=dict(type=PretrainedInit, checkpoint='{weights}'),
)
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=Adam, lr=1e-3))
param_scheduler = [dict(type=LinearLR, start_factor=0.1, begin=0, end=1)]
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = test_cfg = dict()
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory, mnist_root):
    """A config that starts from the shipped weights, and its training of one step."""
    folder = tmp_path_factory.mktemp('pure')
    weights = next((ROOT / 'checkpoints').glob('dcn-k8-hint*.pth'))
    (folder / 'base.py').write_text(BASE.format(root=mnist_root))
    (folder / 'dcn.py').write_text(CONFIG.format(weights=weights))
    run_tool('tools/train.py', folder / 'dcn.py', '--work-dir', folder / 'run')
    return folder


@pytest.mark.parametrize('config', ['dcn.py', 'run/dcn.py'])  # as written, and as logged
def test_it_is_tested_with_the_weights_that_it_names(folder, config):
    printed = run_tool('tools/test.py', folder / config, '--work-dir', folder / 'test')
    assert 'accuracy/top1: 100.0000' in printed


def test_it_is_counted_and_exported(folder):
    config, onnx = folder / 'dcn.py', folder / 'dcn.onnx'
    assert '15,939,372' in run_tool('tools/analysis_tools/get_cost.py', config)
    run_tool('tools/deploy/export_onnx.py', config, '--out', onnx)
    assert onnx.exists()


def test_its_checkpoint_answers_by_itself_and_published(folder):
    checkpoint, image = folder / 'run/epoch_1.pth', ROOT / 'demo/cluttered_mnist.png'
    run_tool(
        'tools/model_converters/publish_model.py', checkpoint, '--out', folder / 'published.pth'
    )
    expected = DCNInferencer(folder / 'dcn.py', checkpoint)(image)[0]['pred_scores'].tolist()
    for path in (checkpoint, *folder.glob('published-*.pth')):
        run_tool('tools/infer.py', image, path, '--out', folder / 'answer.json')
        (answer,) = json.loads((folder / 'answer.json').read_text())
        assert answer['pred_scores'] == pytest.approx(expected)
        assert answer['pred_class'] == '7 - seven'
