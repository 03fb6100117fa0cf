"""Training with fresh clutter shows no picture twice, whatever wraps the dataset, or says so."""

from collections import defaultdict
from inspect import signature

import pytest
from mmengine.hooks import Hook
from mmpretrain.registry import DATASETS

from mmdcn.registry import HOOKS

from ..conftest import ROOT
from .running import run_tool

COARSE = ROOT / 'configs/dcn/coarse_1xb128-60e_cluttered-mnist.py'
EPOCHS = 3
OPTIONS = dict(
    RepeatDataset=dict(times=2),
    ClassBalancedDataset=dict(oversample_thr=1.0),
    KFoldDataset=dict(num_splits=2),
)
REPEATING = ('RepeatDataset', 'ClassBalancedDataset')


def wrappers() -> dict[str, str]:
    """Name -> argument for the wrapped, of all wrappers of MMEngine and MMPretrain."""
    found = {}
    for registry in (DATASETS, DATASETS.parent):
        registry.import_from_location()
        for name, kind in registry.module_dict.items():
            for argument in signature(kind).parameters.keys() & {'dataset', 'datasets'}:
                found[name] = argument
    return found


@pytest.fixture
def shown():
    """Epoch -> pictures, which training got from its workers, in their order."""
    pictures = defaultdict(list)

    class Pictures(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            pictures[runner.epoch] += [image.numpy().tobytes() for image in data_batch['inputs']]

    HOOKS.register_module(module=Pictures)
    yield pictures
    HOOKS.module_dict.pop('Pictures')


def part(split) -> dict:
    return dict(
        type='mmdcn.ClutteredMNIST',
        data_root='data/mnist',
        split=split,
        indices=4,
        regenerate=True,
        pipeline=[dict(type='PackInputs')],
    )


def wrapped(name, argument) -> dict:
    inner = part('train') if argument == 'dataset' else [part('train'), part('val')]
    return dict(type=name, **{argument: inner}, **OPTIONS.get(name, {}))


WRAPPED = {name: wrapped(name, argument) for name, argument in wrappers().items()}
WRAPPED['none'] = part('train')
WRAPPED['RepeatDataset of ConcatDataset'] = dict(
    type='RepeatDataset', dataset=WRAPPED['ConcatDataset'], times=2
)


@pytest.mark.parametrize('persistent', [True, False])
@pytest.mark.parametrize('name', WRAPPED)
def test_no_picture_is_shown_twice_or_the_log_says_so(
    name, persistent, shown, tmp_path, mnist_root
):
    (tmp_path / 'config.py').write_text(f"""
_base_ = {str(COARSE)!r}
train_cfg = dict(max_epochs={EPOCHS})
train_dataloader = dict(
    batch_size=2, num_workers=1, persistent_workers={persistent}, sampler=dict(shuffle=False),
    dataset=dict(_delete_=True, **{WRAPPED[name]!r}))
val_dataloader = val_cfg = val_evaluator = None
custom_hooks = _base_.custom_hooks + [dict(type='Pictures')]
default_hooks = dict(checkpoint=dict(save_best=None))
""")
    printed = run_tool('tools/train.py', tmp_path / 'config.py', '--work-dir', tmp_path / 'work')
    assert len(shown) == EPOCHS and len(shown[0]) == len(shown[1]) >= 2
    for places in zip(*shown.values(), strict=True):
        assert len(set(places)) == EPOCHS  # anew in each epoch
    repeats = len(set(shown[0])) < len(shown[0])
    assert repeats is name.startswith(REPEATING)
    assert ('several times an epoch' in printed) is repeats
