"""Lets a resumed run follow its config."""

import logging
import math
import os.path as osp
import warnings
from pathlib import Path
from typing import Any

from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmdcn.utils.checkpoint import Checkpoint, check_weights_of
from mmdcn.utils.classes import check_classes, class_names, names_in

# What a scheduler's state holds beside its settings.
_PROGRESS = {
    'last_step',
    '_global_step',
    '_last_value',
    'best',
    'cooldown_counter',
    'num_bad_epochs',
}


class ResumeHook(Hook):
    """Lets a resumed run follow its config, where that has changed since the checkpoint.

    MMEngine restores the optimizer's settings and the schedules from the checkpoint, whatever the
    config says. With this hook, a resumed run has the learning rate, the schedules and the other
    settings that a run with this config from the beginning would have at this epoch, or at this
    iteration if training counts iterations. If they differ from the checkpoint's, the log says so.
    Only where a schedule depends on results, as ``ReduceOnPlateauLR`` does, the rate goes on from
    the checkpoint's.

    ``tools/train.py`` adds this hook.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put the settings of the config into a checkpoint that is being resumed.

        Raises:
            ValueError: The checkpoint does not hold the state of training, or that of another
                model, other classes, another optimizer or kind of schedule that depends on results.
        """
        if not runner._resume:
            return
        _check(runner, checkpoint)
        _move_best(runner, checkpoint)
        if changed := _follow_config(runner, checkpoint):
            print_log(
                f'The config differs from the checkpoint in {", ".join(changed)}: from here on '
                f'({checkpoint["meta"]["epoch"]} epochs, {checkpoint["meta"]["iter"]} iterations) '
                'the config counts.',
                logger='current',
                level=logging.WARNING,
            )


def _check(runner: Runner, checkpoint: dict) -> None:
    """Check that a checkpoint has the state of training this model with this optimizer."""
    if not {'optimizer', 'message_hub'} <= checkpoint.keys():
        raise ValueError(
            f'Training cannot be resumed from {runner._load_from}, which holds weights without the '
            "optimizer's state, as best_*.pth do: resume from an epoch_*.pth, or begin a new run "
            'with load_from.'
        )
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    check_weights_of(
        model, Checkpoint(Path(runner._load_from), checkpoint['state_dict'], checkpoint['meta'])
    )
    check_classes(
        names_in(checkpoint['meta'].get('dataset_meta')),
        f'the checkpoint {runner._load_from}',
        class_names(runner.train_dataloader.dataset),
        'train',
    )
    own, given = runner.optim_wrapper.state_dict(), checkpoint['optimizer']
    sizes = [[len(group['params']) for group in state['param_groups']] for state in (own, given)]
    names = [
        set(state['param_groups'][0]) - {'momentum', 'initial_momentum'} for state in (own, given)
    ]
    # Versions of torch and schedules add names; only other optimizers also lack some.
    if sizes[0] != sizes[1] or (names[0] - names[1] and names[1] - names[0]):
        raise ValueError(
            f'Training cannot be resumed from {runner._load_from}: its optimizer is of another '
            'type, or groups the parameters otherwise, than optim_wrapper in the config. Begin a '
            'new run with load_from.'
        )


def _move_best(runner: Runner, checkpoint: dict) -> None:
    """Let the next best checkpoint replace that of this work dir, not that of another run."""
    if any(isinstance(hook, CheckpointHook) and hook.out_dir for hook in runner.hooks):
        return
    info = checkpoint['message_hub']['runtime_info']
    for name, path in info.items():
        if name.startswith('best_ckpt') and path:
            info[name] = osp.join(runner.work_dir, osp.basename(path))


def _follow_config(runner: Runner, checkpoint: dict) -> list[str]:
    """Put the settings of the config into the checkpoint, and return the names of the changed."""
    changed = []
    meta, info = checkpoint['meta'], checkpoint['message_hub']['runtime_info']
    length = len(runner.train_dataloader)
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    if by_epoch and info['max_iters'] != info['max_epochs'] * length:
        meta['iter'] = meta['epoch'] * length
        changed.append('batches per epoch')
    if any(hasattr(scheduler, 'need_val_args') for scheduler in _schedulers(runner)):
        _keep_progress(runner, checkpoint)
    else:
        _replay(runner, meta['iter'], meta['epoch'], length)
    own, given = runner.optim_wrapper.state_dict(), checkpoint['optimizer']
    schedules = [scheduler.state_dict() for scheduler in _schedulers(runner)]
    for group, old in zip(_groups(own), _groups(given), strict=True):
        changed += [
            name
            for name in group
            if name != 'params' and name in old and not _same(group[name], old[name])
        ]
    if not _same(schedules, checkpoint.get('param_schedulers', [])):
        changed.append('param_scheduler')
    if changed:
        given.update({name: own[name] for name in own if name not in ('state', 'loss_scaler')})
        checkpoint['param_schedulers'] = schedules
    return list(dict.fromkeys(changed))


def _replay(runner: Runner, iterations: int, epochs: int, length: int) -> None:
    """Step the schedulers as training does, over finished iterations and epochs of a length."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # about steps of schedulers without steps of the optimizer
        for iteration in range(1, iterations + 1):
            ends = iteration % length == 0 and iteration <= epochs * length
            for by_epoch in (False, True) if ends else (False,):
                for scheduler in _schedulers(runner):
                    if scheduler.by_epoch is by_epoch:
                        scheduler.step()


def _keep_progress(runner: Runner, checkpoint: dict) -> None:
    """Let schedulers that need results, which cannot be replayed, go on from where they were."""
    states = checkpoint.get('param_schedulers', [])
    schedulers = _schedulers(runner)
    if [scheduler.state_dict().keys() for scheduler in schedulers] != [
        state.keys() for state in states
    ]:
        raise ValueError(
            f'Training cannot be resumed from {runner._load_from}: its param_scheduler is of '
            "another kind than the config's, which depends on results. Begin a new run with "
            'load_from.'
        )
    for scheduler, state in zip(schedulers, states, strict=True):
        scheduler.load_state_dict({name: state[name] for name in _PROGRESS & state.keys()})
        groups = zip(
            runner.optim_wrapper.param_groups, _groups(checkpoint['optimizer']), strict=True
        )
        for group, old in groups:
            group[scheduler.param_name] = old[scheduler.param_name]


def _schedulers(runner: Runner) -> list:
    return runner.param_schedulers or []


def _groups(state: dict) -> list[dict]:
    """Return all groups of settings in an optimizer wrapper's state."""
    base = state.get('base_param_settings')
    return state['param_groups'] + ([] if base is None else [base])


def _same(one: Any, other: Any) -> bool:
    """Compare settings; the last digits of a rate depend on the machine."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return one == other
