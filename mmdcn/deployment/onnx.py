"""Export a classifier as one ONNX graph: from raw images to its prediction and patches."""

import copy
from collections.abc import Sequence
from typing import Any

import onnx_ir
import onnxruntime
import torch
from onnx_ir.passes import common as passes
from onnxscript import opset18 as op
from torch import nn

from mmdcn.structures import Cells, Measured

from .optimize import optimize_for_inference
from .outputs import RawToOutputs

INPUT = 'images'
TOLERANCE = 1e-4  # largest value of `differences` that counts as equal
COPY, INFER = 0, -1  # special sizes in the shape of a Reshape


def export_onnx(model: nn.Module, shape: Sequence[int]) -> onnx_ir.Model:
    """Export a classifier as one graph with dynamic batch and image sizes, its batch norms folded.

    Args:
        model: A ``DCNClassifier`` or an MMPretrain ``ImageClassifier``. It is not changed.
        shape: (C, H, W) of an image that the model takes.

    Returns:
        onnx_ir.Model: The graph from :data:`INPUT` to the outputs of :class:`RawToOutputs`.

    Raises:
        ValueError: A part needs more than the image, draws at random, or cannot be expressed in
            ONNX.
    """
    check_exportable(model)
    model = optimize_for_inference(copy.deepcopy(model))
    graph = RawToOutputs(model).eval()
    channels, height, width = shape
    # Of a smaller image, torch makes a single row of cells a constant.
    images = torch.randint(0, 256, (2, channels, 2 * height, 2 * width), dtype=torch.uint8)
    try:
        with torch.no_grad():
            program = torch.onnx.export(
                graph,
                (images,),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=list(graph(images)),
                dynamic_shapes=({0: 'batch', 2: 'height', 3: 'width'},),
                custom_translation_table=_TRANSLATIONS,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ValueError(
            f'A part of this {type(model).__name__} cannot be expressed in ONNX, such as a '
            f'saliency that needs a backward pass ({reason}).'
        ) from error
    _fix_shapes(program.model)
    return program.model


def open_session(graph: onnx_ir.Model, shape: Sequence[int]) -> onnxruntime.InferenceSession:
    """Open a session for batches of one shape, with as many threads as torch uses.

    What depends on the sizes alone, such as the tables of patches, is then computed once.

    Args:
        graph: A graph of :func:`export_onnx`.
        shape: (N, C, H, W).
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    for name, size in zip(('batch', 'height', 'width'), (shape[0], *shape[2:]), strict=True):
        options.add_free_dimension_override_by_name(name, size)
    model = onnx_ir.to_proto(graph).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])


def differences(
    model: Any, session: onnxruntime.InferenceSession, images: torch.Tensor
) -> dict[str, float]:
    """Compare a graph's outputs with the model's, and return the differences by name.

    Each figure is the largest absolute difference, divided by the largest absolute value. This
    divisor is clamped to [0.1, 1]. Rounding can change the choice between cells of almost equal
    saliency. So ``cells`` compares the saliency of the graph's cells with that of the model's
    cells. For all other outputs, the model looks at the graph's cells.

    Args:
        model: The model, in evaluation mode.
        session: A session of the model's graph.
        images: (N, C, H, W) uint8.
    """
    names = [output.name for output in session.get_outputs()]
    found = dict(
        zip(names, map(torch.from_numpy, session.run(names, {INPUT: images.numpy()})), strict=True)
    )
    looking: Any = copy.deepcopy(model)
    if 'cells' in found:
        looking.selector = _Told(found['cells'], found.get('budgets'))
    with torch.no_grad():
        expected = RawToOutputs(looking)(images)
        if 'cells' in found:
            saliency = expected['saliency']
            told = looking.selector(Measured(saliency))
            own = _most_salient(model.selector, told, saliency)
            for outputs, cells in ((expected, own), (found, told.index)):
                outputs['cells'] = saliency.flatten(1)[told.image, cells]
        if 'budgets' in found:
            expected['budgets'] = model.extract_feat(
                model.data_preprocessor(dict(inputs=images))['inputs']
            ).cells.budgets
    return {name: _difference(found[name], expected[name]) for name in names}


def _difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    if found.shape != expected.shape:
        return float('inf')
    if found.numel() == 0:  # no patches
        return 0.0
    scale = expected.abs().max().clamp(0.1, 1)
    return ((found - expected).abs().max() / scale).item()


class _Told(nn.Module):
    """A selector that always chooses the cells given at construction.

    Args:
        cells: (N, k) or, with budgets, (P,).
        budgets: (N,), the number of cells of each image.
    """

    def __init__(self, cells: torch.Tensor, budgets: torch.Tensor | None) -> None:
        super().__init__()
        self.cells, self.budgets = cells, budgets

    def forward(self, measured: Measured) -> Cells:
        """Return the given cells."""
        if self.budgets is None:
            return Cells.fixed(self.cells, measured.grid)
        image = torch.arange(len(self.budgets)).repeat_interleave(self.budgets)
        return Cells(self.cells, measured.grid, image=image, budgets=self.budgets)


def _most_salient(selector: Any, told: Cells, saliency: torch.Tensor) -> torch.Tensor:
    """Return the P cells that a selector chooses with the number of patches of each image."""
    if told.budgets is None:
        return selector(Measured(saliency)).index
    ranked = selector.with_budget(int(told.budgets.max()))(Measured(saliency))
    return Cells.budgeted(ranked.group(ranked.index), told.budgets, told.grid).index


def check_exportable(model: nn.Module) -> None:
    """Raise a ``ValueError`` if a part of the model cannot be in a graph of the image alone."""
    saliency = getattr(model, 'saliency', None)
    for unfit, reason in (('needs_truth', 'reads the true boxes'), ('draws', 'draws at random')):
        if getattr(saliency, unfit, False):
            raise ValueError(
                f'{type(saliency).__name__} {reason}, which no graph of an image alone does: '
                'choose another saliency.'
            )


def _fix_shapes(model: onnx_ir.Model) -> None:
    """Let ``Reshape`` copy or infer dynamic sizes where possible.

    torch computes each of these sizes from the image size with operators of its own, which take
    more time than the reshape.
    """
    for node in model.graph:
        if node.op_type != 'Reshape' or node.inputs[1].const_value is not None:
            continue
        source, target = (list(value.shape) for value in (node.inputs[0], node.outputs[0]))
        shape = [
            to if isinstance(to, int) else COPY if to in source[axis : axis + 1] else INFER
            for axis, to in enumerate(target)
        ]
        if 0 in target or shape.count(INFER) > 1:
            continue
        constant = onnx_ir.Value(
            name=f'{node.outputs[0].name}_shape',
            shape=onnx_ir.Shape([len(shape)]),
            type=onnx_ir.TensorType(onnx_ir.DataType.INT64),
            const_value=onnx_ir.tensor(shape, dtype=onnx_ir.DataType.INT64),
        )
        model.graph.register_initializer(constant)
        node.replace_input_with(1, constant)
        node.attributes.pop('allowzero', None)
    passes.RemoveUnusedNodesPass()(model)


def _einsum(equation: str, tensors: Any, path: Any = None) -> Any:
    if equation == 'nm,mr->nmr':  # from scatter_windows; ONNX Runtime is slow at outer products
        return op.Mul(op.Unsqueeze(tensors[0], [2]), tensors[1])
    return op.Einsum(*tensors, equation=equation)


def _peaks(feats: Any, size: Any) -> Any:
    if tuple(size) != (1, 1):
        raise ValueError(f'An adaptive max pool is exported to 1×1 only, not to {size}.')
    cells = op.Reshape(feats, op.Constant(value_ints=[COPY, COPY, INFER]))  # (N, D, h·w)
    return (
        op.Unsqueeze(op.ReduceMax(cells, op.Constant(value_ints=[2])), [3]),
        op.Unsqueeze(op.ArgMax(cells, axis=2), [3]),
    )


def _shrunk(
    images: Any, size: Any, align_corners: Any, height: Any = None, width: Any = None
) -> Any:
    # Pass the scale itself, as torch uses it. ONNX would derive another scale from the two sizes,
    # which are rounded to whole pixels.
    if align_corners or height is None or width is None:
        raise ValueError('Shrinking without aliasing is exported by a scale only.')
    scales = op.Constant(value_floats=[1.0, 1.0, height, width])
    return op.Resize(
        images,
        None,
        scales,
        None,
        mode='linear',
        antialias=1,
        exclude_outside=1,
        coordinate_transformation_mode='half_pixel',
    )


# These are simpler than torch's own translations, which also handle negative sizes and indices.
_TRANSLATIONS = {
    torch.ops.aten.floor_divide.default: lambda dividend, divisor: op.Div(dividend, divisor),
    torch.ops.aten.remainder.Scalar: lambda dividend, divisor: op.Mod(dividend, divisor),
    torch.ops.aten.einsum.default: _einsum,
    torch.ops.aten.adaptive_max_pool2d.default: _peaks,
    torch.ops.aten._upsample_bilinear2d_aa.default: _shrunk,
}
