from collections.abc import Iterator

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import Dataset

from mmdcn.registry import HOOKS


@HOOKS.register_module()
class SetEpochHook(Hook):
    """Tells the training dataset which epoch begins, where it wants to know.

    A dataset wants to know by having ``set_epoch(epoch)``; it is also found inside
    MMEngine's dataset wrappers. Where training counts iterations, an epoch is as many as it takes
    to go through the dataset once; what the workers have made beforehand is of the one before.
    """

    def __init__(self):
        self._epoch = None

    def before_train_epoch(self, runner: Runner) -> None:
        """Call ``set_epoch`` before the workers start on the epoch."""
        self._set_epoch(runner, runner.epoch)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict = None) -> None:
        """Call it where no epochs are counted, once the dataset was gone through."""
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
