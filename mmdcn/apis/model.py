"""Get models by name, config or checkpoint, as in MMPretrain."""

import copy
import difflib
import fnmatch
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.fileio import list_from_file
from mmengine.model import BaseModel
from modelindex.load_model_index import load
from modelindex.models.Model import Model

from mmdcn.engine.launch import names_weights
from mmdcn.registry import DATASETS, class_of
from mmdcn.utils.build import build_model, read_config, scope_of
from mmdcn.utils.checkpoint import (
    Checkpoint,
    config_of,
    load_named_weights,
    load_weights,
    read_checkpoint,
)
from mmdcn.utils.moved import moved

CHECKPOINT_SUFFIXES = ('.pth', '.pt')
PACKAGE = Path(__file__).parents[1]


def list_models(pattern: str | None = None) -> list[str]:
    """List the models that have a config here: first those with weights, each group by name.

    Args:
        pattern: A wildcard pattern for the beginning of a name.
    """
    models = _models()
    names = sorted(models, key=lambda name: (not models[name].weights, name))
    return names if pattern is None else fnmatch.filter(names, f'{pattern}*')


def get_model(
    model: str | PathLike | Config,
    pretrained: bool | str | PathLike = False,
    device: str | torch.device | None = None,
    **kwargs: Any,
) -> BaseModel:
    """Build a model, in evaluation mode.

    Args:
        model: A name from :func:`list_models`, or its beginning up to an underscore if this is the
            only such model or the only one with weights; a config file or config; or a checkpoint
            that holds its config, as all checkpoints of MMEngine do.
        pretrained: A checkpoint file with weights of this model; or True for the known weights:
            those that come with a named model, or those that ``load_from`` or ``init_cfg`` of the
            config names. If ``model`` is a checkpoint, its weights are always loaded.
        device: Device to move the model to.
        **kwargs: Settings of the model's config to change, such as ``selector=dict(k=12)``.

    Returns:
        BaseModel: The model, with ``_config``, ``_dataset_meta`` and ``_metainfo`` as MMPretrain
        sets them.

    Raises:
        FileNotFoundError: A file is not there.
        TypeError: ``model`` is none of these kinds.
        ValueError: There is no such model, no weights are known, or the file is not a checkpoint
            of this model.
    """
    metainfo = checkpoint = None
    if isinstance(model, Config):
        config = copy.deepcopy(model)
    elif not isinstance(model, (str, PathLike)):
        raise TypeError(
            'A model is a name, a config file, a Config or a checkpoint, got '
            f'{type(model).__name__}.'
        )
    elif Path(model).suffix == '.py':
        config = read_config(model)
        metainfo = _entry_of(Path(model))
    elif Path(model).suffix in CHECKPOINT_SUFFIXES:
        checkpoint = read_checkpoint(model)
        config = config_of(checkpoint)
    else:
        metainfo = find_model(str(model))
        config = read_config(_root() / metainfo.config)
    if 'model' not in config:
        raise ValueError(f'The config {config.filename or ""} has no model.')
    if kwargs:
        config.merge_from_dict(dict(model=kwargs))

    if not isinstance(pretrained, bool) and pretrained is not None:
        checkpoint = read_checkpoint(pretrained)
    elif pretrained:
        checkpoint = checkpoint or _known_checkpoint(config, metainfo)
    built = build_model(config)
    if checkpoint is not None:
        load_weights(built, checkpoint)
    elif pretrained:
        checkpoint = next(iter(load_named_weights(built)), None)
    built._config, built._metainfo = config, metainfo
    built._dataset_meta = _dataset_meta(config, checkpoint)
    return built.to(device)


def find_model(name: str) -> Model:
    """Return the entry of the model index with this name, or the only one that begins with it.

    If several names begin with it, return the only one with weights.

    Raises:
        ValueError: There is none or there are several.
    """
    models = _models()
    if name in models:
        return models[name]
    found = [model for model in models.values() if model.name.startswith(f'{name}_')]
    chosen = found if len(found) == 1 else [model for model in found if model.weights]
    if len(chosen) == 1:
        return chosen[0]
    if found:
        names = ', '.join(sorted(model.name for model in found))
        raise ValueError(f'{name!r} is the beginning of several models: {names}.')
    if where := moved(name):
        raise ValueError(f'There is no model {name!r}; {where}')
    short = sorted({model.split('_')[0] for model in models})
    nearest = [model for model in short if model.startswith(name)][:6] or (
        difflib.get_close_matches(name, [*short, *models], n=3, cutoff=0.4)
    )
    hint = f'the nearest names are {", ".join(nearest)}; ' if nearest else ''
    raise ValueError(f'There is no model {name!r}; {hint}mmdcn.list_models() gives all.')


def _root() -> Path:
    """Return the folder of configs and checkpoints: inside of the package, or beside it."""
    installed = PACKAGE / '.mim'
    return installed if installed.is_dir() else PACKAGE.parent


@cache
def _models() -> dict[str, Model]:
    path = _root() / 'model-index.yml'
    if not path.is_file():
        raise FileNotFoundError(f'The model index {path} is missing; install mmdcn again.')
    index = load(str(path))
    index.build_models_with_collections()
    return {model.name: model for model in index.models}


def _entry_of(path: Path) -> Model | None:
    """Return a config file's entry in the model index, or None; a copy of the file has none."""
    found = _models().get(path.stem)
    return found if found and path.resolve() == (_root() / found.config).resolve() else None


def _known_checkpoint(config: Config, metainfo: Model | None) -> Checkpoint | None:
    """Read the known weights, or return None if the model's ``init_cfg`` names them."""
    if metainfo is not None and metainfo.weights:
        return read_checkpoint(_root() / metainfo.weights)
    if config.get('load_from'):
        return read_checkpoint(config.load_from)
    if not names_weights(config.model):
        name = metainfo.name if metainfo else config.filename or 'this config'
        raise ValueError(
            f'There are no known weights for {name}: pass a checkpoint as '
            'pretrained (--checkpoint of the tools).'
        )
    return None


def _dataset_meta(config: Config, checkpoint: Checkpoint | None) -> dict:
    if checkpoint is not None and checkpoint.meta.get('dataset_meta'):
        return checkpoint.meta['dataset_meta']
    if config.get('test_dataloader') is None:
        return {}
    dataset = config.test_dataloader.dataset
    with scope_of(config):
        metainfo = getattr(class_of(dataset.type, DATASETS), 'METAINFO', {})
    classes = dataset.get('classes')
    if isinstance(classes, str):  # a file, as MMPretrain's datasets read it
        classes = list_from_file(Path(classes).expanduser())
    own = {'classes': tuple(classes)} if classes else {}
    return {**metainfo, **own, **dataset.get('metainfo', {})}
