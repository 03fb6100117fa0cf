"""What the runs of test_distributed.py add to a config by ``custom_imports``."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS
from torch import nn


@MODELS.register_module('FrozenBN')
class FrozenBatchNorm(nn.BatchNorm2d):
    """Normalises with its running statistics, which never move."""

    def train(self, mode: bool = True) -> nn.Module:
        return super().train(False)


@HOOKS.register_module()
class KeepStatesHook(Hook):
    """Saves of each process the model after every step, and the model that is validated."""

    priority = 'LOWEST'

    def before_train(self, runner):
        self.steps = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        state = runner.model.module.state_dict()
        self.steps.append({name: value.clone() for name, value in state.items()})

    def before_val_epoch(self, runner):
        torch.save(
            dict(steps=self.steps, validated=runner.model.module.state_dict()),
            f'{runner.work_dir}/states_{runner.rank}.pth',
        )
