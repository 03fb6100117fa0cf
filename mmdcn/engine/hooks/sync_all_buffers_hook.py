from mmengine.dist import all_reduce_params
from mmengine.hooks import EMAHook, SyncBuffersHook
from mmengine.runner import Runner

from mmdcn.registry import HOOKS


@HOOKS.register_module()
class SyncAllBuffersHook(SyncBuffersHook):
    """MMEngine's ``SyncBuffersHook``, which also averages the buffers of an ``EMAHook``'s model.

    The saliency pass reads running statistics. Without this each process would validate the
    averaged weights with its own, and the checkpoint would hold those of the first.
    """

    def after_train_epoch(self, runner: Runner) -> None:
        """Average over the processes what validation and checkpoint are about to read."""
        super().after_train_epoch(runner)
        if self.distributed:
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):
                    all_reduce_params(hook.ema_model.buffers(), op='mean')
