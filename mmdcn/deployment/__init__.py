"""Make trained classifiers faster, and export them to ONNX.

The export needs the packages of requirements/optional.txt, so it is imported on demand.
"""

from typing import Any

from .backends import BACKENDS
from .optimize import optimize_for_inference
from .outputs import RawToOutputs, predictions

_OF_ONNX = ('INPUT', 'TOLERANCE', 'differences', 'export_onnx', 'open_session')

__all__ = ['BACKENDS', 'RawToOutputs', 'optimize_for_inference', 'predictions', *_OF_ONNX]


def __getattr__(name: str) -> Any:
    if name not in _OF_ONNX:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from . import onnx

    return getattr(onnx, name)
