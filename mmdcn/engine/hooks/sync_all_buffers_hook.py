from mmengine.dist import all_reduce_params
from mmengine.hooks import EMAHook, SyncBuffersHook
from mmengine.runner import Runner

from mmdcn.registry import HOOKS


@HOOKS.register_module()
class SyncAllBuffersHook(SyncBuffersHook):
    """MMEngine's ``SyncBuffersHook``, which also averages the buffers of an ``EMAHook``'s model.

    The saliency pass reads running statistics. Without this each process would validate the
    averaged weights with its own, and the checkpoint of an epoch would hold those of the
    first. Checkpoints that are saved by the iteration still do.
    """

    def before_val_epoch(self, runner: Runner) -> None:
        """Average over the processes what validation is about to read, unless that was done."""
        if self.distributed and not self.called_in_train:
            self._average_ema(runner)
        super().before_val_epoch(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Average over the processes what validation and checkpoint are about to read."""
        super().after_train_epoch(runner)
        if self.distributed:
            self._average_ema(runner)

    def _average_ema(self, runner: Runner) -> None:
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                all_reduce_params(hook.ema_model.buffers(), op='mean')
