"""Read checkpoints without running any code in them."""

import ast
import pickle
import sys
import textwrap
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.model import BaseModel, BaseModule, PretrainedInit
from mmengine.runner import CheckpointLoader
from torch import nn

from mmdcn.registry import (
    BATCH_AUGMENTS,
    DATASETS,
    MODELS,
    TRANSFORMS,
    WEIGHT_INITIALIZERS,
    class_of,
)
from mmdcn.utils.safe_globals import register_safe_globals
from mmdcn.utils.upgrade import upgrade


class Checkpoint(NamedTuple):
    """The parts of an MMEngine checkpoint that a prediction needs."""

    path: Path | str  # a file, or an address
    weights: dict[str, torch.Tensor]
    meta: dict  # 'cfg' (text), 'dataset_meta' and others


def read_checkpoint(path: str | PathLike) -> Checkpoint:
    """Read a checkpoint, or the bare weights of a model, onto the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a checkpoint, or holds more than weights and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'The checkpoint {path} is not there.')
    try:
        register_safe_globals()  # needed each time, because onedl-mmengine's loader clears them
        content = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f'{path} is not a checkpoint that can be read without running code in it, '
            'so it was not read: it is another kind of file, or holds objects beside '
            'weights and plain values.'
        ) from error
    # torch raises many types of error on broken bytes.
    except Exception as error:
        raise ValueError(
            f'The checkpoint {path} is cut or is none ({_one_line(error)}).'
        ) from error
    return _parts_of(path, content)


def fetch_checkpoint(source: str) -> Checkpoint:
    """Read a checkpoint from a file, or from an address as MMEngine does, which keeps a copy.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a checkpoint; or a file holds more than weights and plain values.
    """
    if '://' not in source:
        return read_checkpoint(source)
    return _parts_of(source, CheckpointLoader.load_checkpoint(source, map_location='cpu'))


def _parts_of(path: Path | str, content: Any) -> Checkpoint:
    """Return the parts of what a file of weights holds."""
    weights = content.get('state_dict', content) if isinstance(content, dict) else {}
    if not (
        isinstance(weights, dict)
        and weights
        and all(isinstance(weight, torch.Tensor) for weight in weights.values())
    ):
        raise ValueError(f'{path} is not a checkpoint: it holds no state_dict.')
    meta = content.get('meta') if 'state_dict' in content else None
    # A model wrapped for training on several devices adds this prefix to the names.
    weights = {name.removeprefix('module.'): weight for name, weight in weights.items()}
    return Checkpoint(path, weights, meta if isinstance(meta, dict) else {})


def load_weights(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Load all weights of a checkpoint into a model.

    Raises:
        ValueError: The weights are of another model; the message says which ones differ.
    """
    check_weights_of(model, checkpoint)
    model.load_state_dict(checkpoint.weights)


def check_weights_of(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Check that a checkpoint has exactly the weights of a model.

    Raises:
        ValueError: The weights are of another model; the message says which ones differ.
    """
    _check_names(
        model,
        checkpoint,
        {
            'the model has no': [
                name for name in checkpoint.weights if name not in model.state_dict()
            ]
        },
    )


def load_named_weights(model: BaseModule) -> list[Checkpoint]:
    """Load all weights of a model, as named by the ``init_cfg`` of its parts.

    Returns:
        list: The checkpoints of the whole model or of its heads, whose ``dataset_meta`` names the
        classes.

    Raises:
        FileNotFoundError: A checkpoint is missing.
        ValueError: A checkpoint is of another model, or no ``init_cfg`` names a part's weights.
    """
    unnamed, loads, sources = set(model.state_dict()), [], []
    for path, part, step, checkpoint in _pretrained_parts(model):
        unnamed -= {f'{path}.{name}'.lstrip('.') for name in part.state_dict()}
        _check_names(part, checkpoint, {})
        if path.rpartition('.')[2] in ('', 'head'):
            sources.append(checkpoint)
        loads.append((step, part))
    if unnamed:
        raise ValueError(
            f'No init_cfg of this {type(model).__name__} names the weights of '
            f'{_first(sorted(unnamed))}: pass a checkpoint.'
        )
    for step, part in reversed(loads):  # those of the whole after those of its parts
        WEIGHT_INITIALIZERS.build(step)(part)
    return sources


def loads_weights(step: dict) -> bool:
    """Return whether a step of an ``init_cfg`` loads the weights of a checkpoint."""
    return class_of(step['type'], WEIGHT_INITIALIZERS) is PretrainedInit


def check_named_weights(model: nn.Module) -> None:
    """Check that each checkpoint that an ``init_cfg`` names has weights for its part.

    MMEngine would only log what does not fit, and go on.

    Raises:
        FileNotFoundError: A checkpoint is missing.
        ValueError: Not one weight of a checkpoint fits.
    """
    for path, part, _, checkpoint in _pretrained_parts(model):
        check_some_fit(
            part,
            checkpoint,
            f'Set checkpoint and prefix of the init_cfg of {path or "the model"}: '
            "prefix='backbone.' takes the backbone of a classifier.",
        )


def check_some_fit(part: nn.Module, checkpoint: Checkpoint, remedy: str) -> None:
    """Check that at least one weight of a checkpoint fits, by name and shape.

    Of whole models, the head's weights do not count, because models without a common tower may
    have the same head.

    Args:
        part: A model or a part of one.
        checkpoint: The checkpoint.
        remedy: What to do, for the message.

    Raises:
        ValueError: Not one weight fits.
    """
    given = dict(checkpoint.weights)
    # Some models rename the weights of other libraries.
    for hook in part._load_state_dict_pre_hooks.values():
        hook(given, '', {}, False, [], [], [])
    own = part.state_dict()
    if isinstance(part, BaseModel):
        own = {name: weight for name, weight in own.items() if not name.startswith('head.')} or own
    if own and not any(
        name in given and given[name].shape == weight.shape for name, weight in own.items()
    ):
        what = f'has {_first(list(given))}' if given else 'has none of this prefix'
        raise ValueError(
            f'Not one weight of the checkpoint {checkpoint.path} fits this {type(part).__name__}, '
            f'which has {_first(list(own))}: the checkpoint {what}. {remedy}'
        )


def _pretrained_parts(model: nn.Module) -> Iterator[tuple[str, nn.Module, dict, Checkpoint]]:
    """Yield path, part, step and checkpoint for each ``Pretrained`` in an ``init_cfg``."""
    for path, part in model.named_modules():
        steps = getattr(part, 'init_cfg', None) or []
        for step in [steps] if isinstance(steps, dict) else steps:
            if loads_weights(step):
                yield path, part, step, _read_part(step['checkpoint'], step.get('prefix'))


def _read_part(path: str, prefix: str | None) -> Checkpoint:
    """Read the weights whose names begin with ``prefix``, and remove it from the names."""
    try:
        checkpoint = fetch_checkpoint(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{error} The init_cfg of the config names it: train that model, '
            'or pass a checkpoint of the whole one.'
        ) from error
    begin = f'{prefix.rstrip(".")}.' if prefix else ''
    return checkpoint._replace(
        weights={
            name.removeprefix(begin): weight
            for name, weight in checkpoint.weights.items()
            if name.startswith(begin)
        }
    )


def _check_names(model: nn.Module, checkpoint: Checkpoint, more: dict[str, list[str]]) -> None:
    """Check that a checkpoint has all weights of a model, and report ``more`` differences too."""
    own, given = model.state_dict(), checkpoint.weights
    shapes = [
        f'{name} ({_shape(given[name])}, the model {_shape(own[name])})'
        for name in own
        if name in given and own[name].shape != given[name].shape
    ]
    differences = [
        f'{what} {_first(names)}'
        for what, names in {
            'it lacks': [name for name in own if name not in given],
            **more,
            'of other shape:': shapes,
        }.items()
        if names
    ]
    if differences:
        raise ValueError(
            f'The checkpoint {checkpoint.path} is of another model than this '
            f'{type(model).__name__}: {"; ".join(differences)}.'
        )


def config_of(checkpoint: Checkpoint) -> Config:
    """Read the config that MMEngine stores in a checkpoint, as plain values.

    Raises:
        ValueError: There is no config, it holds more than plain values, or it names a type that is
            not registered.
    """
    text = checkpoint.meta.get('cfg')
    if not isinstance(text, str):
        raise ValueError(
            f"The checkpoint {checkpoint.path} holds no config in meta['cfg']: name "
            'the model or its config, and pass the checkpoint as pretrained.'
        )
    remedy = 'pass the config file, and the checkpoint as pretrained'
    try:
        config = Config(upgrade(_plain_values(text)))
    except (SyntaxError, TypeError, ValueError, AttributeError, KeyError, RecursionError) as error:
        raise ValueError(
            f'The config in the checkpoint {checkpoint.path} holds more than plain '
            f'values ({_one_line(error)}): {remedy}.'
        ) from error
    built = [
        config.get('model'),
        config.get('data_preprocessor'),
        config.get('test_dataloader', {}).get('dataset'),
    ]
    registered = _registered()
    for part in parts_of(built):
        found = _find(part['type'], registered)
        # MMEngine would import and call anything with the name of a type that is not registered.
        if found is None:
            raise ValueError(
                f'The config in the checkpoint {checkpoint.path} asks for {part["type"]}, '
                f'which is not registered: import what registers it, or {remedy}.'
            )
        if _downloads(found.__name__, part):
            raise ValueError(
                f'The config in the checkpoint {checkpoint.path} asks for '
                f'{part["type"]}, which may run what it downloads: {remedy}.'
            )
    return config


class _DictCalls(ast.NodeTransformer):
    """Rewrites ``dict(a=1)`` as ``{'a': 1}``."""

    def visit_Call(self, call: ast.Call) -> ast.AST:
        self.generic_visit(call)
        if not isinstance(call.func, ast.Name) or call.func.id != 'dict' or call.args:
            return call
        return ast.Dict(
            [ast.Constant(keyword.arg) for keyword in call.keywords],
            [keyword.value for keyword in call.keywords],
        )


def _plain_values(text: str) -> dict:
    """Read a module that only assigns literals, and return its values by name."""
    values = {}
    for statement in ast.parse(text).body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            raise ValueError(f'line {statement.lineno} is no assignment')
        value = _DictCalls().visit(statement.value)
        values[statement.targets[0].id] = ast.literal_eval(value)
    return values


def parts_of(part: Any) -> Iterator[dict]:
    """Yield every ``dict(type='X', ...)`` inside of a config whose type is a name."""
    if isinstance(part, dict):
        if isinstance(part.get('type'), str):
            yield part
        part = list(part.values())
    if isinstance(part, (list, tuple)):
        for value in part:
            yield from parts_of(value)


def _downloads(name: str, part: dict) -> bool:
    """Return whether a part from another library downloads a model, or its code, from a hub."""
    return (
        name.startswith('HuggingFace')
        or 'trust_remote_code' in part
        or any(key.endswith('name_or_path') for key in part)
        or name.startswith('TIMM')
        and (bool(part.get('pretrained')) or ':' in str(part.get('model_name')))
    )


def _registered() -> list[tuple[str, Any]]:
    """Return the names and classes in all registries that a prediction needs, and their parents."""
    items: list = []
    for registry in (BATCH_AUGMENTS, DATASETS, MODELS, TRANSFORMS, WEIGHT_INITIALIZERS):
        while registry is not None:
            registry.import_from_location()
            items += registry.module_dict.items()
            registry = registry.parent
    return items


def _find(kind: str, registered: list[tuple[str, Any]]) -> Any:
    """Find the registered class with a name or dotted name without an import, or return None."""
    scope, _, name = kind.rpartition('.')
    if '.' not in scope:
        return dict(registered).get(name)
    named = getattr(sys.modules.get(scope), '__dict__', {}).get(name)
    return next((found for _, found in registered if found is named), None)


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f'{names[0]} and {len(names) - 1} more'


def _shape(weight: torch.Tensor) -> str:
    return '×'.join(map(str, weight.shape)) or 'a scalar'


def _one_line(error: Exception) -> str:
    return textwrap.shorten(str(error) or type(error).__name__, 150, placeholder=' …').rstrip('.')
