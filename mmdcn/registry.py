"""Registries of mmdcn: one child for each registry of MMPretrain, scope ``mmdcn``.

A type that is not registered here is searched in MMPretrain and then in MMEngine. So with
``default_scope = 'mmdcn'``, a config can say ``ResNet`` or ``Accuracy`` without a prefix. In any
other scope, ``type='mmdcn.DCNClassifier'`` works without an import by hand.
"""

from typing import Any

import mmengine.registry
from mmengine.registry import Registry
from mmpretrain import registry as parents


def _child(parent: Registry, location: str) -> Registry:
    return Registry(parent.name, parent=parent, scope='mmdcn', locations=[f'mmdcn.{location}'])


def class_of(kind: str | type, registry: Registry) -> Any:
    """Return what a config's ``type`` stands for, or None if there is no such thing.

    Args:
        kind: A registered name, with or without scope; a dotted name such as
            ``'mmdcn.models.DCNClassifier'``; or the class itself, as in pure-Python configs.
        registry: Where names are searched.
    """
    return registry.get(kind) if isinstance(kind, str) else kind


RUNNERS = _child(parents.RUNNERS, 'engine')
RUNNER_CONSTRUCTORS = _child(parents.RUNNER_CONSTRUCTORS, 'engine')
LOOPS = _child(parents.LOOPS, 'engine')
HOOKS = _child(parents.HOOKS, 'engine')
LOG_PROCESSORS = _child(parents.LOG_PROCESSORS, 'engine')
OPTIMIZERS = _child(parents.OPTIMIZERS, 'engine')
OPTIM_WRAPPERS = _child(parents.OPTIM_WRAPPERS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(parents.OPTIM_WRAPPER_CONSTRUCTORS, 'engine')
PARAM_SCHEDULERS = _child(parents.PARAM_SCHEDULERS, 'engine')

DATASETS = _child(parents.DATASETS, 'datasets')
DATA_SAMPLERS = _child(parents.DATA_SAMPLERS, 'datasets')
TRANSFORMS = _child(parents.TRANSFORMS, 'datasets')

MODELS = _child(parents.MODELS, 'models')
MODEL_WRAPPERS = _child(parents.MODEL_WRAPPERS, 'models')
WEIGHT_INITIALIZERS = _child(parents.WEIGHT_INITIALIZERS, 'models')
BATCH_AUGMENTS = _child(parents.BATCH_AUGMENTS, 'models')
TASK_UTILS = _child(parents.TASK_UTILS, 'models')

FUNCTIONS = Registry(
    'function', parent=mmengine.registry.FUNCTIONS, scope='mmdcn', locations=['mmdcn.datasets']
)

METRICS = _child(parents.METRICS, 'evaluation')
EVALUATORS = _child(parents.EVALUATORS, 'evaluation')

VISUALIZERS = _child(parents.VISUALIZERS, 'visualization')
VISBACKENDS = _child(parents.VISBACKENDS, 'visualization')
