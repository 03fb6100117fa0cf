"""Tells datasets the epoch."""

import logging
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop, Runner

from mmdcn.registry import HOOKS
from mmdcn.utils.unwrap import own, unwrap


@HOOKS.register_module()
class SetEpochHook(Hook):
    """Calls ``set_epoch(epoch)`` on training datasets that have it.

    Datasets inside of MMEngine's dataset wrappers are found too. If training counts iterations, an
    epoch is one pass through the dataset. Images that the workers have prepared in advance then
    still belong to the epoch before.
    """

    def __init__(self) -> None:
        self._epoch: int | None = None
        self._said = False

    def before_train_epoch(self, runner: Runner) -> None:
        """Call ``set_epoch`` before the workers start on the epoch."""
        self._set_epoch(runner, runner.epoch)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Call ``set_epoch`` after each pass through the dataset, if training counts iterations."""
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            epoch = runner.iter // len(runner.train_dataloader)
            if epoch != self._epoch:
                self._set_epoch(runner, epoch)

    def _set_epoch(self, runner: Runner, epoch: int) -> None:
        self._epoch = epoch
        for dataset in unwrap(runner.train_dataloader.dataset):
            if hasattr(dataset, 'set_epoch'):
                dataset.set_epoch(epoch)
            self._say_if_repeated(dataset)

    def _say_if_repeated(self, dataset: Any) -> None:
        """Say once that a wrapper which is longer than its dataset shows the same images again."""
        inner: Any = own(dataset, 'dataset')
        drawn = [part for part in unwrap(inner) if getattr(part, 'regenerate', False)]
        if self._said or not drawn or len(dataset) <= len(inner):
            return
        self._said = True
        print_log(
            f'{type(dataset).__name__} shows images of {type(drawn[0]).__name__} several times an '
            'epoch, each time with the same clutter: train for more epochs in place of repeating.',
            logger='current',
            level=logging.WARNING,
        )
