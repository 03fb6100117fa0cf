"""Make trained classifiers faster, and export them to ONNX.

The export needs the packages of requirements/optional.txt, so it is imported on demand.
"""

from typing import Any

from .optimize import optimize_for_inference

_OF_ONNX = ('INPUT', 'TOLERANCE', 'RawToOutputs', 'differences', 'export_onnx', 'open_session')

__all__ = ['optimize_for_inference', *_OF_ONNX]


def __getattr__(name: str) -> Any:
    if name not in _OF_ONNX:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from . import onnx

    return getattr(onnx, name)
