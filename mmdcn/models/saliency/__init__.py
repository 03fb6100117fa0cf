"""Saliencies: how much each cell of the coarse map matters."""

from .activation_norm import ActivationNorm
from .base import BaseSaliency
from .class_activation import ClassActivation
from .entropy_gradient import EntropyGradient
from .head_reading import HeadReading
from .inverse_entropy import InverseEntropy
from .oracle_cells import OracleCells
from .random_cells import RandomCells

__all__ = [
    'ActivationNorm',
    'BaseSaliency',
    'ClassActivation',
    'EntropyGradient',
    'HeadReading',
    'InverseEntropy',
    'OracleCells',
    'RandomCells',
]
