"""Models and datasets of a config, outside of a runner."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn
from torch.utils.data import Dataset

from mmdcn.registry import DATASETS, MODELS


def read_config(path: str | Path) -> Config:
    """Read a config file.

    Raises:
        SystemExit: It is not there, or no config.
    """
    if not Path(path).is_file():
        raise SystemExit(f'The config {path} is not there; those of mmdcn are in configs/.')
    if Path(path).suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise SystemExit(f'{path} is no config: name a .py file, such as those in configs/.')
    return Config.fromfile(path)


def build_model(cfg: Config) -> nn.Module:
    """Build ``cfg.model`` as a runner would, with the data preprocessor, in evaluation mode."""
    init_default_scope(cfg.default_scope)
    model = dict(cfg.model)
    if 'data_preprocessor' in cfg:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return MODELS.build(model).eval()


def build_dataset(cfg: Config, subset: str = 'test') -> Dataset:
    """Build the dataset of ``cfg.{subset}_dataloader``."""
    init_default_scope(cfg.default_scope)
    return DATASETS.build(cfg[f'{subset}_dataloader'].dataset)


def first_images(cfg: Config, number: int) -> torch.Tensor:
    """The first images of the test set as a model sees them, (number, C, H, W)."""
    dataset = build_dataset(cfg)
    inputs = torch.stack([dataset[index]['inputs'] for index in range(number)])
    return build_model(cfg).data_preprocessor(dict(inputs=inputs))['inputs']
