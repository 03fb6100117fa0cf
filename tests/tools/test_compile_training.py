"""Training with a compiled loss is training."""

from copy import deepcopy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch._dynamo.utils import counters

from mmdcn.engine.hooks import CompileHook
from mmdcn.utils.checkpoint import read_checkpoint

from ..conftest import ROOT
from ..models.dcns import build_dcn, labelled
from .running import QUICK, logged, run_tool

STEPS = 10  # an epoch
BATCH = 8
FIGURES = ('loss', 'loss_cls', 'hint_distance', 'patch_hit')


@pytest.fixture(autouse=True)
def compiler_reset():
    torch.compiler.reset()
    counters.clear()


@pytest.fixture
def quick_compiler(monkeypatch):
    """Stop before the C++ compiler, which takes most of the time."""
    monkeypatch.setattr(torch, 'compile', partial(torch.compile, backend='aot_eager'))


@pytest.fixture(scope='module')
def config(tmp_path_factory, mnist_root) -> str:
    """Two epochs of small batches, validated with average weights.

    The steps are small: at a rate of 0.01, two runs without a compiler whose weights begin 1e-7
    apart have losses that are percents apart after ten steps.
    """
    path = tmp_path_factory.mktemp('config') / 'config.py'
    path.write_text(f"""
_base_ = {str(ROOT / QUICK)!r}
train_cfg = dict(max_epochs=2)
param_scheduler = []
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=1e-4))
loader = dict(num_workers=0, batch_size={BATCH})
train_dataloader = dict(**loader, dataset=dict(indices={BATCH * STEPS}))
val_dataloader = dict(**loader, dataset=dict(indices=16))
default_hooks = dict(logger=dict(interval=1))
custom_hooks = _base_.custom_hooks + [dict(type='EMAHook', momentum=0.1, update_buffers=True)]
""")
    return str(path)


def train(config, work, *arguments, code=0) -> str:
    return run_tool('tools/train.py', config, '--work-dir', work, *arguments, code=code)


@pytest.fixture(scope='module')
def eager(config, tmp_path_factory):
    work = tmp_path_factory.mktemp('eager')
    assert 'compiles the loss' not in train(config, work)
    return work


@pytest.fixture(scope='module')
def compiled(config, tmp_path_factory):
    work = tmp_path_factory.mktemp('compiled')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, 'compile', partial(torch.compile, backend='aot_eager'))
        assert train(config, work, '--compile').count('compiles the loss') == 1
    return work


def assert_same_course(found, expected, steps):
    for key in FIGURES:
        ours, theirs = logged(found, key), logged(expected, key)
        assert list(ours) == list(steps)
        assert ours == pytest.approx({step: theirs[step] for step in steps}, rel=1e-3), key


def test_losses_validation_and_names_of_weights_are_those_without(eager, compiled):
    assert_same_course(compiled, eager, range(1, 2 * STEPS + 1))
    for key in ('accuracy/top1', 'patch_hit/mean'):  # of the averages
        assert logged(compiled, key) == pytest.approx(logged(eager, key), rel=1e-3)
    found, expected = (
        torch.load(work / 'epoch_2.pth', weights_only=False) for work in (compiled, eager)
    )
    for states in ('state_dict', 'ema_state_dict'):
        assert found[states].keys() == expected[states].keys()
    weights = read_checkpoint(compiled / 'epoch_2.pth').weights
    for name, value in read_checkpoint(eager / 'epoch_2.pth').weights.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_the_default_compiler_trains_one_tower(config, tmp_path):
    tower = tmp_path / 'tower.py'
    coarse = Config.fromfile(ROOT / 'configs' / 'dcn' / 'coarse_1xb128-60e_cluttered-mnist.py')
    tower.write_text(f"""
_base_ = {config!r}
model = dict(_delete_=True, **{coarse.model.to_dict()!r})
train_cfg = dict(max_epochs=1)
train_dataloader = dict(dataset=dict(indices={4 * BATCH}))
val_evaluator = [dict(type='Accuracy')]
""")
    train(tower, tmp_path / 'eager')
    train(tower, tmp_path / 'compiled', '--compile')
    found, expected = (logged(tmp_path / name, 'loss') for name in ('compiled', 'eager'))
    assert len(found) == 4 and found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize('begun, options', [('eager', ['--compile']), ('compiled', [])])
def test_a_run_resumes_from_a_checkpoint_of_the_other_kind(
    begun, options, config, eager, request, tmp_path, quick_compiler
):
    checkpoint = request.getfixturevalue(begun) / 'epoch_1.pth'
    printed = train(config, tmp_path, *options, f'--resume={checkpoint}')
    assert ('compiles the loss' in printed) is bool(options)
    assert_same_course(tmp_path, eager, range(STEPS + 1, 2 * STEPS + 1))


def test_mixed_precision_compiles_too(config, tmp_path, quick_compiler, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '-1')
    short = ['train_cfg.max_epochs=1', 'train_dataloader.dataset.indices=24']
    short = ['--amp', '--cfg-options', *short]
    train(config, tmp_path / 'eager', *short)
    train(config, tmp_path / 'compiled', '--compile', *short)
    found, expected = (logged(tmp_path / name, 'loss') for name in ('compiled', 'eager'))
    assert len(found) == 3 and found == pytest.approx(expected, rel=0.02)  # bfloat16


def compile_loss(model) -> None:
    runner = SimpleNamespace(model=model, logger=SimpleNamespace(info=lambda _: None))
    CompileHook().after_train_iter(runner, 0)


def test_a_copy_of_a_compiled_model_has_losses_of_its_own_weights(quick_compiler):
    model, images = build_dcn(), torch.rand(2, 1, 40, 40)
    compile_loss(model)
    model.loss(images, labelled(2))
    copy = deepcopy(model)
    torch.nn.init.ones_(copy.head.fc.bias[:1].data)
    other = build_dcn()
    other.load_state_dict(copy.state_dict())
    found, expected = (part.loss(images, labelled(2))['loss_cls'] for part in (copy, other))
    torch.testing.assert_close(found, expected)
    assert found != model.loss(images, labelled(2))['loss_cls']


def test_numbers_of_patches_and_boxes_that_differ_compile_twice_only(quick_compiler):
    model = build_dcn(selector=dict(type='EntropySelector', threshold=1.9, full_threshold=2.6))
    model.loss(torch.rand(4, 1, 60, 60), labelled(4))  # checks once, what it checks once
    compile_loss(model)
    graphs, patches = [], set()
    for batch in range(6):
        samples = labelled(4)
        for number, sample in enumerate(samples):
            sample.set_field(torch.rand(1 + (number + batch) % 3, 4), 'gt_bboxes')
        images = torch.rand(4, 1, 60, 60) * 3 * torch.rand(4, 1, 1, 1)
        patches.add(len(model.extract_feat(images).cells))
        model.loss(images, samples)
        graphs.append(counters['stats']['unique_graphs'])
    assert len(patches) > 2
    assert graphs[1] == graphs[-1]


def test_a_config_that_compiles_by_mmengine_is_refused(config, tmp_path):
    printed = train(config, tmp_path, '--compile', '--cfg-options', 'compile=True', code=1)
    assert 'take that out or train without --compile' in printed


def test_a_missing_compiler_is_named(config, tmp_path, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    monkeypatch.setattr('mmdcn.engine.hooks.compile_hook.get_device', lambda: 'cpu')
    printed = train(config, tmp_path, '--compile', code=1)
    assert 'torch.compile needs a C++ compiler on a CPU, and no-such-compiler is not' in printed
