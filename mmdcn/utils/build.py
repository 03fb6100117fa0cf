"""Models and datasets of a config, outside of a runner."""
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn
from torch.utils.data import Dataset

from mmdcn.registry import DATASETS, MODELS


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
