"""Trained classifiers outside of Python; needs what requirements/optional.txt lists."""

from .onnx import INPUT, TOLERANCE, RawToOutputs, differences, export_onnx

__all__ = ['INPUT', 'TOLERANCE', 'RawToOutputs', 'differences', 'export_onnx']
