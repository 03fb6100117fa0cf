"""A resumed run does what its config asks for."""

import shutil
from pathlib import Path

import pytest
import torch

from ..conftest import ROOT
from .running import logged, run_tool

COARSE = ROOT / 'configs/dcn/coarse_1xb128-60e_cluttered-mnist.py'


def train(config, work, *arguments, resume='--resume') -> str:
    return run_tool('tools/train.py', config, '--work-dir', work, resume, *arguments)


@pytest.fixture(scope='module')
def config(tmp_path_factory, mnist_root) -> str:
    """Four batches an epoch, and schedules by iteration and by epoch."""
    path = tmp_path_factory.mktemp('config') / 'config.py'
    path.write_text(f"""
_base_ = {str(COARSE)!r}
train_cfg = dict(max_epochs=2)
loader = dict(num_workers=0, batch_size=4)
train_dataloader = dict(**loader, dataset=dict(indices=16))
val_dataloader = dict(**loader, dataset=dict(indices=4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-4, begin=1, end=4,
         convert_to_iter_based=True),
    dict(type='ExponentialLR', gamma=0.5, end=10),
]
auto_scale_lr = dict(base_batch_size=4)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=0.1))))
default_hooks = dict(logger=dict(interval=1))
""")
    return str(path)


@pytest.fixture(scope='module')
def trained(config, tmp_path_factory) -> Path:
    """Two epochs."""
    work = tmp_path_factory.mktemp('trained')
    assert 'No checkpoint to resume from' in train(config, work)
    return work


CHANGES = {
    'nothing': ['train_cfg.max_epochs=3'],
    'a longer schedule': ['train_cfg.max_epochs=3', 'param_scheduler.1.end=8'],
    'no schedule': ['train_cfg.max_epochs=3', 'param_scheduler=[]'],
    'a rate': ['train_cfg.max_epochs=3', 'optim_wrapper.optimizer.lr=1e-3'],
    'a batch size': ['train_cfg.max_epochs=3', 'train_dataloader.batch_size=8'],
}


@pytest.mark.parametrize('change', CHANGES)
def test_rates_are_those_of_a_run_that_began_with_the_config(change, config, trained, tmp_path):
    options = ['--auto-scale-lr', '--cfg-options', *CHANGES[change]]
    whole, resumed = tmp_path / 'whole', tmp_path / 'resumed'
    train(config, whole, *options)
    printed = train(config, resumed, *options, resume=f'--resume={trained / "epoch_2.pth"}')
    assert ('The config differs from the checkpoint' in printed) is (change != 'nothing')
    for key in ('lr', 'base_lr'):
        expected, found = logged(whole, key), logged(resumed, key)
        assert found == {step: expected[step] for step in list(expected)[2 * len(expected) // 3 :]}


def test_runs_that_count_iterations_have_these_rates_too(config, tmp_path):
    path, cut, whole = (tmp_path / name for name in ('config.py', 'cut', 'whole'))
    path.write_text(f"""
_base_ = {config!r}
# More batches than are asked for, because MMEngine waits two seconds between epochs.
train_dataloader = dict(dataset=dict(indices=64))
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=10, val_interval=20)
param_scheduler = dict(_delete_=True, type='CosineAnnealingLR', by_epoch=False, T_max=10)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5, save_best=None))
""")
    train(path, cut)
    longer = ['--cfg-options', 'train_cfg.max_iters=15', 'param_scheduler.T_max=15']
    printed = train(path, cut, *longer)
    assert 'The config differs' in printed
    train(path, whole, *longer)
    expected, found = logged(whole, 'lr'), logged(cut, 'lr')
    assert all(found[step] == expected[step] for step in range(11, 16))


def test_other_settings_of_the_optimizer_are_the_configs_too(config, trained, tmp_path):
    options = ['train_cfg.max_epochs=3', 'optim_wrapper.optimizer.weight_decay=0.25']
    printed = train(
        config, tmp_path, '--cfg-options', *options, resume=f'--resume={trained / "epoch_2.pth"}'
    )
    assert 'The config differs from the checkpoint in weight_decay: ' in printed
    optimizer = torch.load(tmp_path / 'epoch_3.pth', weights_only=False)['optimizer']
    assert {group['weight_decay'] for group in optimizer['param_groups']} == {0.25}


def test_a_schedule_that_depends_on_results_goes_on_with_them(config, trained, tmp_path):
    path, work = tmp_path / 'config.py', tmp_path / 'work'
    path.write_text(f"""
_base_ = {config!r}
train_cfg = dict(max_epochs=2)
param_scheduler = dict(
    _delete_=True, type='ReduceOnPlateauLR', monitor='accuracy/top1', factor=0.5, patience=0,
    rule='greater', threshold=1000, threshold_rule='abs')
""")
    train(path, work)
    train(path, work, '--cfg-options', 'train_cfg.max_epochs=4', 'param_scheduler.factor=0.1')
    rates = logged(work, 'base_lr')
    assert (rates[12], rates[13]) == (0.003, pytest.approx(0.0003))
    with pytest.raises(ValueError, match='of another kind'):
        train(path, tmp_path, resume=f'--resume={trained / "epoch_2.pth"}')


def test_a_copied_work_dir_goes_on_with_its_own_checkpoint_and_leaves_the_original_alone(
    config, trained, tmp_path
):
    copy, original = tmp_path / 'copy', tmp_path / 'original'
    shutil.copytree(trained, original)
    (original / 'last_checkpoint').write_text(str(original / 'epoch_2.pth'))
    for path in original.glob('epoch_*.pth'):
        state = torch.load(path, weights_only=False)
        (best,) = original.glob('best_*.pth')
        state['message_hub']['runtime_info'].update(best_ckpt=str(best), best_score=-1.0)
        torch.save(state, path)
    shutil.copytree(original, copy)
    printed = train(config, copy, '--cfg-options', 'train_cfg.max_epochs=3')
    assert f'Load checkpoint from {copy / "epoch_2.pth"}' in printed
    assert sorted(path.name for path in original.glob('*.pth')) == sorted(
        path.name for path in trained.glob('*.pth')
    )
    assert len(list(copy.glob('best_*.pth'))) == 1


def test_a_named_checkpoint_that_is_gone_is_missed(config, trained, tmp_path):
    shutil.copy(trained / 'last_checkpoint', tmp_path)
    printed = run_tool('tools/train.py', config, '--work-dir', tmp_path, '--resume', code=1)
    assert f'The checkpoint {tmp_path}/epoch_2.pth to go on from is not there.' in printed


def test_without_a_checkpoint_of_its_own_a_run_begins_from_load_from(config, trained, tmp_path):
    options = ['--cfg-options', f'load_from={trained / "epoch_2.pth"}', 'train_cfg.max_epochs=1']
    printed = train(config, tmp_path, *options)
    assert f'Load checkpoint from {trained / "epoch_2.pth"}' in printed
    assert 'resumed epoch' not in printed


@pytest.mark.parametrize(
    'name, option, message',
    [
        ('best', 'work_dir=x', "holds weights without the optimizer's state"),
        ('epoch_2', 'optim_wrapper.optimizer.type=SGD', 'its optimizer is of another type'),
        ('epoch_2', 'optim_wrapper.paramwise_cfg=None', 'or groups the parameters otherwise'),
        ('epoch_2', 'model.head.mid_channels=8', 'is of another model than this ImageClassifier'),
    ],
)
def test_what_cannot_be_resumed_is_refused(name, option, message, config, trained, tmp_path):
    (checkpoint,) = trained.glob(f'{name}*.pth')
    with pytest.raises(ValueError, match=message):
        train(config, tmp_path, '--cfg-options', option, resume=f'--resume={checkpoint}')


def test_a_cut_checkpoint_and_an_empty_note_of_the_newest_are_named(config, trained, tmp_path):
    cut = tmp_path / 'epoch_2.pth'
    cut.write_bytes((trained / 'epoch_2.pth').read_bytes()[:10_000])
    arguments = ['--work-dir', tmp_path]
    printed = run_tool('tools/train.py', config, *arguments, f'--resume={cut}', code=1)
    assert f'The checkpoint {cut} is cut or is none' in printed
    (tmp_path / 'last_checkpoint').touch()
    printed = run_tool('tools/train.py', config, *arguments, '--resume', code=1)
    assert 'last_checkpoint names no checkpoint: name one' in printed
