"""Models by name, config or checkpoint, as MMPretrain has them."""

import copy
import difflib
import fnmatch
from functools import cache
from os import PathLike
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from modelindex.load_model_index import load
from modelindex.models.Model import Model

from mmdcn.engine.launch import names_weights
from mmdcn.registry import DATASETS, MODELS
from mmdcn.utils.checkpoint import (
    Checkpoint,
    config_of,
    load_named_weights,
    load_weights,
    read_checkpoint,
)

CHECKPOINT_SUFFIXES = ('.pth', '.pt')
PACKAGE = Path(__file__).parents[1]


def list_models(pattern: str | None = None) -> list[str]:
    """Names of the models that have a config here, sorted.

    Args:
        pattern: A wildcard pattern that the beginning of a name must match.
    """
    names = sorted(_models())
    return names if pattern is None else fnmatch.filter(names, f'{pattern}*')


def get_model(
    model: str | PathLike | Config,
    pretrained: bool | str | PathLike = False,
    device: str | torch.device | None = None,
    **kwargs,
) -> BaseModel:
    """Build a model, in evaluation mode.

    Args:
        model: A name out of :func:`list_models`, or the beginning of one up to an underscore if
            it is the only such model or the only one with weights; a config file or config; or
            a checkpoint that holds its config, as all of MMEngine's do.
        pretrained: A checkpoint file, whose weights must be this model's; or True for the
            weights that are known: those that come with a named model, or those that the config's
            ``load_from`` or ``init_cfg`` name. A checkpoint's own weights are loaded anyway.
        device: Where the model goes.
        **kwargs: Settings of the model's config to change, such as ``selector=dict(k=12)``.

    Returns:
        BaseModel: Its ``_config``, ``_dataset_meta`` and ``_metainfo`` are those that MMPretrain
        gives a model.

    Raises:
        FileNotFoundError: A file is not there.
        TypeError: ``model`` is nothing of that kind.
        ValueError: There is no such model, no weights are known, or a checkpoint is none or of
            another model.
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
        config = _read_config(Path(model))
        metainfo = _entry_of(Path(model))
    elif Path(model).suffix in CHECKPOINT_SUFFIXES:
        checkpoint = read_checkpoint(model)
        config = config_of(checkpoint)
    else:
        metainfo = find_model(str(model))
        config = _read_config(_root() / metainfo.config)
    if 'model' not in config:
        raise ValueError(f'The config {config.filename or ""} has no model.')
    if kwargs:
        config.merge_from_dict(dict(model=kwargs))

    if not isinstance(pretrained, bool) and pretrained is not None:
        checkpoint = read_checkpoint(pretrained)
    elif pretrained:
        checkpoint = checkpoint or _known_checkpoint(config, metainfo)
    built = _build(config)
    if checkpoint is not None:
        load_weights(built, checkpoint)
    elif pretrained:
        load_named_weights(built)
    built._config, built._metainfo = config, metainfo
    built._dataset_meta = _dataset_meta(config, checkpoint)
    return built.to(device).eval()


def find_model(name: str) -> Model:
    """The entry of the model index of this name, or of the only one that begins with it.

    Of several that begin so, the only one with weights is meant.

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
        names = ', '.join(model.name for model in found)
        raise ValueError(f'{name!r} is the beginning of several models: {names}.')
    short = sorted({model.split('_')[0] for model in models})
    nearest = [model for model in short if model.startswith(name)][:6] or (
        difflib.get_close_matches(name, [*short, *models], n=3, cutoff=0.4)
    )
    hint = f'the nearest names are {", ".join(nearest)}; ' if nearest else ''
    raise ValueError(f'There is no model {name!r}; {hint}mmdcn.list_models() gives all.')


def _root() -> Path:
    """Where configs and checkpoints are: installed within the package, or beside it."""
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
    """Of a config file that the model index names; of a copy of it there is none."""
    found = _models().get(path.stem)
    return found if found and path.resolve() == (_root() / found.config).resolve() else None


def _read_config(path: Path) -> Config:
    if not path.is_file():
        raise FileNotFoundError(f'The config {path} is not there.')
    try:
        return Config.fromfile(path)
    except SyntaxError as error:
        raise ValueError(f'The config {path} is no Python that can be read: {error}.') from error


def _known_checkpoint(config: Config, metainfo: Model | None) -> Checkpoint | None:
    """None where the model's ``init_cfg`` names its weights."""
    if metainfo is not None and metainfo.weights:
        return read_checkpoint(_root() / metainfo.weights)
    if config.get('load_from'):
        return read_checkpoint(config.load_from)
    if not names_weights(config.model):
        name = metainfo.name if metainfo else config.filename or 'this config'
        raise ValueError(
            f'No trained weights are known of {name}: pass a checkpoint as '
            'pretrained (--checkpoint of the tools).'
        )
    return None


def _build(config: Config) -> BaseModel:
    model = dict(config.model)
    if model.get('data_preprocessor') is None and 'data_preprocessor' in config:
        model['data_preprocessor'] = config.data_preprocessor
    try:
        with DefaultScope.overwrite_default_scope(scope_of(config)):
            return MODELS.build(model)
    except KeyError as error:  # MMEngine's answer to a type that is not registered
        name = config.filename or 'in the checkpoint'
        raise ValueError(
            f'The config {name} cannot be built: {error.args[0]}. A config file may '
            'name what to import in custom_imports; one in a checkpoint may not, so '
            'pass the file as well.'
        ) from error


def _dataset_meta(config: Config, checkpoint: Checkpoint | None) -> dict:
    if checkpoint is not None and checkpoint.meta.get('dataset_meta'):
        return checkpoint.meta['dataset_meta']
    if config.get('test_dataloader') is None:
        return {}
    with DefaultScope.overwrite_default_scope(scope_of(config)):
        return getattr(DATASETS.get(config.test_dataloader.dataset.type), 'METAINFO', {})


def scope_of(config: Config) -> str:
    """Where the types of a config are looked for first."""
    return config.get('default_scope') or 'mmdcn'
