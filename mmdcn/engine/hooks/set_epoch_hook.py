from typing import Iterator

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmdcn.registry import HOOKS


@HOOKS.register_module()
class SetEpochHook(Hook):
    """Tells the training dataset which epoch begins, where it wants to know.

    A dataset wants to know by having ``set_epoch(epoch)``; it is also found inside
    MMEngine's dataset wrappers.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Call ``set_epoch`` before the workers start on the epoch."""
        for dataset in _unwrap(runner.train_dataloader.dataset):
            if hasattr(dataset, 'set_epoch'):
                dataset.set_epoch(runner.epoch)


def _unwrap(dataset: Dataset) -> Iterator[Dataset]:
    yield dataset
    inner = [dataset.dataset] if hasattr(dataset, 'dataset') else getattr(dataset, 'datasets', [])
    for part in inner:
        yield from _unwrap(part)
