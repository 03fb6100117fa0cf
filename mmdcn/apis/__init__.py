"""The Python interface: get models by name and predict."""

from .inferencer import DCNInferencer
from .model import get_model, list_models

__all__ = ['DCNInferencer', 'get_model', 'list_models']
