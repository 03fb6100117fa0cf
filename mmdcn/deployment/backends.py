"""Runtimes for predictions that are faster than eager torch, chosen by one word."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

import torch
from torch import nn

from .optimize import optimize_for_inference
from .outputs import RawToOutputs

Outputs = dict[str, Any]
MOST_SESSIONS = 8


class CompiledBackend:
    """Runs a classifier compiled by ``torch.compile``, with frozen weights.

    Each new shape of a batch is compiled when it first comes, which takes tens of seconds.

    Args:
        model: The classifier; it is copied.
    """

    def __init__(self, model: nn.Module) -> None:
        graph = RawToOutputs(optimize_for_inference(copy.deepcopy(model)))
        self._run = torch.compile(graph.eval(), options=dict(freezing=True))

    def __call__(self, images: torch.Tensor) -> Outputs:
        """Return the outputs of :class:`RawToOutputs` for (N, C, H, W) uint8 images."""
        with torch.inference_mode():
            return self._run(images)


class OnnxRuntimeBackend:
    """Runs a classifier through ONNX Runtime on the CPU, with a session for each shape of a batch.

    The graph is exported once, with the first images. The sessions of the last
    :data:`MOST_SESSIONS` shapes are kept.

    Args:
        model: The classifier; it is copied.

    Raises:
        ModuleNotFoundError: A package that the export needs is not installed.
        ValueError: A part needs more than the image or draws at random, or the model is not on the
            CPU.
    """

    def __init__(self, model: nn.Module) -> None:
        try:
            from . import onnx
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"backend='onnxruntime' needs {error.name}, which is not installed: run "
                '`pip install -r requirements/optional.txt`.'
            ) from error
        device = next(model.parameters()).device
        if device.type != 'cpu':
            raise ValueError(
                f"backend='onnxruntime' runs on the CPU, but the model is on {device}: leave the "
                "backend out, or pass device='cpu'."
            )
        try:
            onnx.check_exportable(model)
        except ValueError as error:
            raise ValueError(
                f"backend='onnxruntime' cannot run this model. {error} Or leave the backend out."
            ) from error
        self._onnx = onnx
        self._model = copy.deepcopy(model).eval()
        self._graph: Any = None
        self._sessions: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._lock = Lock()

    def __call__(self, images: torch.Tensor) -> Outputs:
        """Return the outputs of :class:`RawToOutputs` for (N, C, H, W) uint8 images.

        Raises:
            ValueError: The model cannot be expressed in ONNX.
        """
        session = self._session(tuple(images.shape))
        names = [output.name for output in session.get_outputs()]
        found = session.run(names, {self._onnx.INPUT: images.numpy()})
        return dict(zip(names, map(torch.from_numpy, found), strict=True))

    def _session(self, shape: tuple[int, ...]) -> Any:
        with self._lock:
            if self._graph is None:
                self._graph = self._onnx.export_onnx(self._model, shape[1:])
            if shape not in self._sessions:
                self._sessions[shape] = self._onnx.open_session(self._graph, shape)
            self._sessions.move_to_end(shape)
            if len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
            return self._sessions[shape]


BACKENDS: dict[str, Callable[[nn.Module], Callable[[torch.Tensor], Outputs]]] = {
    'compile': CompiledBackend,
    'onnxruntime': OnnxRuntimeBackend,
}
