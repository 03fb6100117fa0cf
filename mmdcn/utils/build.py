"""Build models and datasets from a config, without a runner."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from threading import RLock

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset, Subset

from mmdcn.registry import DATASETS, MODELS
from mmdcn.utils.moved import moved

_taking_turns = RLock()


def read_config(path: str | PathLike, options: dict | None = None) -> Config:
    """Read a config file.

    Args:
        path: The config file.
        options: Settings that override those of the file, such as ``{'model.selector.k': 4}``.

    Raises:
        FileNotFoundError: There is no such file. For a config of an earlier version, the message
            names its replacement.
        ValueError: The file is not a config.
    """
    path = Path(path)
    if not path.is_file():
        where = moved(path) or 'those of mmdcn are in configs/.'
        raise FileNotFoundError(f'The config {path} is not there; {where}')
    if path.suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise ValueError(f'{path} is not a config: name a .py file, such as those in configs/.')
    try:
        cfg = Config.fromfile(path)
    except SyntaxError as error:
        raise ValueError(f'The config {path} is not valid Python: {error}.') from error
    cfg.merge_from_dict(options or {})
    return cfg


@contextmanager
def scope_of(cfg: Config) -> Iterator[None]:
    """Search types in the scope of a config first, inside of a ``with`` block.

    MMEngine has one scope for all threads, so they take turns.
    """
    with _taking_turns, DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmdcn'):
        yield


def build_model(cfg: Config) -> BaseModel:
    """Build ``cfg.model`` with its data preprocessor, as a runner would, in evaluation mode.

    Raises:
        ValueError: A type is not registered, or parts do not fit each other.
    """
    model = dict(cfg.model)
    if model.get('data_preprocessor') is None and 'data_preprocessor' in cfg:
        model['data_preprocessor'] = cfg.data_preprocessor
    try:
        with scope_of(cfg):
            return MODELS.build(model).eval()
    except KeyError as error:  # MMEngine raises it for a type that is not registered
        name = cfg.filename or 'in the checkpoint'
        raise ValueError(
            f'The config {name} cannot be built: {error.args[0]}. A config file may '
            'name what to import in custom_imports; one in a checkpoint may not, so '
            'pass the file as well.'
        ) from error


def build_dataset(cfg: Config, subset: str = 'test') -> Dataset:
    """Build the dataset of ``cfg.{subset}_dataloader``."""
    with scope_of(cfg):
        return DATASETS.build(cfg[f'{subset}_dataloader'].dataset)


def build_loader(
    cfg: Config, subset: str = 'test', indices: Sequence[int] | None = None
) -> DataLoader:
    """Build the loader of ``cfg.{subset}_dataloader``, optionally for some images only."""
    dataset = build_dataset(cfg, subset)
    return Runner.build_dataloader(
        {
            **cfg[f'{subset}_dataloader'],
            'collate_fn': dict(type='mmdcn.collate_any_sizes'),
            'dataset': dataset if indices is None else Subset(dataset, indices),
        }
    )


def first_images(cfg: Config, number: int) -> torch.Tensor:
    """Return the first images of the test set as the model sees them, (number, C, H, W).

    Raises:
        ValueError: They are of several sizes, or read from files in part.
    """
    dataset = build_dataset(cfg)
    data = [dataset[index] for index in range(number)]
    if any(hasattr(each['data_samples'].get('img_path'), 'source') for each in data):
        raise ValueError(
            f'{cfg.filename} loads overviews of files, which are not what its model computes on: '
            'pass the shape of whole images.'
        )
    inputs = [each['inputs'] for each in data]
    if len({image.shape for image in inputs}) > 1:
        raise ValueError(
            f'The first {number} test images of {cfg.filename} are of several sizes: pass a shape.'
        )
    return build_model(cfg).data_preprocessor(dict(inputs=torch.stack(inputs)))['inputs']
