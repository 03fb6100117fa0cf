"""Tells datasets the epoch."""

from collections.abc import Iterator

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import Dataset

from mmdcn.registry import HOOKS


@HOOKS.register_module()
class SetEpochHook(Hook):
    """Calls ``set_epoch(epoch)`` on training datasets that have it.

    Datasets inside of MMEngine's dataset wrappers are found too. If training counts iterations, an
    epoch is one pass through the dataset. Images that the workers have prepared in advance then
    still belong to the epoch before.
    """

    def __init__(self) -> None:
        self._epoch: int | None = None

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
        for dataset in _unwrap(runner.train_dataloader.dataset):
            if hasattr(dataset, 'set_epoch'):
                dataset.set_epoch(epoch)


def _unwrap(dataset: Dataset) -> Iterator[Dataset]:
    yield dataset
    inner = [dataset.dataset] if hasattr(dataset, 'dataset') else getattr(dataset, 'datasets', [])
    for part in inner:
        yield from _unwrap(part)
