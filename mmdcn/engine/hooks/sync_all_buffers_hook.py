"""Averages running statistics over processes."""

from mmengine.dist import all_reduce_params
from mmengine.hooks import EMAHook, SyncBuffersHook
from mmengine.runner import Runner

from mmdcn.registry import HOOKS


@HOOKS.register_module()
class SyncAllBuffersHook(SyncBuffersHook):
    """Averages buffers over processes, like MMEngine's ``SyncBuffersHook``, also for ``EMAHook``.

    The saliency reads running statistics. Without this hook, each process would validate the
    averaged weights with its own statistics, and the checkpoint of an epoch would hold those of the
    first process. Checkpoints that are saved by iteration still hold those of the first process.
    """

    def before_val_epoch(self, runner: Runner) -> None:
        """Average the buffers over the processes before validation, unless that was done."""
        if self.distributed and not self.called_in_train:
            self._average_ema(runner)
        super().before_val_epoch(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Average the buffers over the processes before validation and checkpoint."""
        super().after_train_epoch(runner)
        if self.distributed:
            self._average_ema(runner)

    def _average_ema(self, runner: Runner) -> None:
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                all_reduce_params(hook.ema_model.buffers(), op='mean')
