from .activation_norm import ActivationNorm
from .class_activation import ClassActivation
from .entropy_gradient import EntropyGradient
from .inverse_entropy import InverseEntropy
from .oracle_cells import OracleCells
from .random_cells import RandomCells

__all__ = [
    'ActivationNorm',
    'ClassActivation',
    'EntropyGradient',
    'InverseEntropy',
    'OracleCells',
    'RandomCells',
]
