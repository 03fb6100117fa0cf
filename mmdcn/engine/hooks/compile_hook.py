"""Compiles the loss of a model that trains."""

import os
import shutil
import sys
from types import MethodType
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmdcn.structures import source_of


class CompileHook(Hook):
    """Compiles a model's ``loss`` by ``torch.compile`` after the first batch.

    The first batch runs as it is, because checks that a model makes only then would be compiled
    with it. Validation, weights and their names are those of a model that is not compiled.

    Raises:
        ValueError: Training is on a CPU, and the C++ compiler that torch calls there is missing; or
            the model reads its patches from files.
    """

    def __init__(self) -> None:
        compiler = os.environ.get('CXX') or _default_compiler()
        if get_device() == 'cpu' and shutil.which(compiler) is None:
            raise ValueError(
                f'torch.compile needs a C++ compiler on a CPU, and {compiler} is not there: '
                'install it, name another one in the environment variable CXX, or train without '
                'compiling.'
            )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Compile the loss, unless it is compiled."""
        model: Any = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if 'loss' in vars(model):
            return
        samples = data_batch['data_samples'] if data_batch else []
        if any(source_of(sample) is not None for sample in samples):
            raise ValueError(
                'torch.compile cannot follow a DCN that reads its patches from files: train '
                'without compiling.'
            )
        # A method, not a function: a copy of the model, as EMA makes one, gets it bound to itself.
        model.loss = MethodType(torch.compile(type(model).loss), model)
        runner.logger.info('The next batch compiles the loss, which takes up to minutes.')


def _default_compiler() -> str:
    return dict(darwin='clang++', win32='cl').get(sys.platform, 'g++')
