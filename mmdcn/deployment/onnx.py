"""A classifier as one ONNX graph, from raw images to what it says and where it looked."""

import copy

import onnx_ir
import onnxruntime
import torch
from onnx_ir.passes import common as passes
from onnxscript import opset18 as op
from torch import nn

from mmdcn.models import DCNClassifier, OracleCells, RandomCells, SequenceHead, TopKSelector
from mmdcn.models.heads.sequence_head import most_probable

INPUT = 'images'
TOLERANCE = 1e-4  # of what differences gives
COPY, INFER = 0, -1  # in the shape that a Reshape is given


class RawToOutputs(nn.Module):
    """What the graph computes: normalisation, the classifier, and where it looked.

    Args:
        model: A ``DCNClassifier`` or an MMPretrain ``ImageClassifier``.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Raw images, (N, C, H, W) uint8 as a dataset gives them, -> the outputs by name.

        ``logits`` (N, classes), or of a ``SequenceHead`` ``log_probabilities`` (N, 12·M) and the
        most probable ``sequence`` (N, 1 + M); of a DCN also ``cells`` (N, k), ``patch_bboxes``
        (N, k, 4) and ``saliency`` (N, s1, s2), as in its predictions.
        """
        images = self.model.data_preprocessor(dict(inputs=images))['inputs']
        seen = self.model.extract_feat(images)
        if not isinstance(self.model, DCNClassifier):
            return self._answer(seen)
        boxes = self.model.patch_extractor.boxes(seen.cells, seen.coarse.shape[-2:])
        return dict(
            **self._answer(seen.refined),
            cells=seen.cells,
            patch_bboxes=boxes,
            saliency=seen.saliency,
        )

    def _answer(self, feats: torch.Tensor) -> dict[str, torch.Tensor]:
        head = self.model.head
        if isinstance(head, SequenceHead):
            sequence, _ = most_probable(head.probabilities(feats))
            return dict(log_probabilities=head(feats), sequence=sequence)
        return dict(logits=head(feats))


def export_onnx(model: nn.Module, images: torch.Tensor) -> onnx_ir.Model:
    """Make one graph of a classifier; batch and image size stay open.

    Args:
        model: A ``DCNClassifier`` or an MMPretrain ``ImageClassifier``; is not changed.
        images: Two raw images of any size that the model takes, (2, C, H, W) uint8.

    Returns:
        onnx_ir.Model: From :data:`INPUT` to the outputs of :class:`RawToOutputs`.

    Raises:
        ValueError: A part needs more than the image, or gives no two times the same, or chooses
            other numbers of patches for other images.
        torch.onnx.OnnxExporterError: A part has no counterpart in ONNX.
    """
    _check_parts(model)
    model = copy.deepcopy(model).eval()
    graph = RawToOutputs(model).eval()
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
    _fix_shapes(program.model)
    return program.model


def differences(
    model: nn.Module, session: onnxruntime.InferenceSession, images: torch.Tensor
) -> dict[str, float]:
    """How far a graph's outputs are from the model's, by name.

    Each is the largest difference over the largest value, which counts as 1 where it is more and
    as 0.1 where it is less. Cells that are salient to the last digit alike can be told apart by
    rounding alone; so ``cells`` compares how salient the graph's are with how salient the
    model's are, and all else is compared with the model looking at the graph's cells.

    Args:
        model: In evaluation mode.
        session: Of the model's graph.
        images: (N, C, H, W) uint8.
    """
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, map(torch.from_numpy, session.run(names, {INPUT: images.numpy()}))))
    looking = copy.deepcopy(model)
    if 'cells' in found:
        looking.selector = _Told(found['cells'])
    with torch.no_grad():
        expected = RawToOutputs(looking)(images)
        if 'cells' in found:
            for outputs, cells in (
                (expected, model.selector(expected['saliency'])),
                (found, found['cells']),
            ):
                outputs['cells'] = expected['saliency'].flatten(1).gather(1, cells)
    return {name: _difference(found[name], expected[name]) for name in names}


def _difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    if found.shape != expected.shape:
        return float('inf')
    if found.numel() == 0:  # no patches
        return 0.0
    scale = expected.abs().max().clamp(0.1, 1)
    return ((found - expected).abs().max() / scale).item()


class _Told(nn.Module):
    """A selector that chooses the cells it was given."""

    def __init__(self, cells: torch.Tensor):
        super().__init__()
        self.cells = cells

    def forward(self, *measured: torch.Tensor) -> torch.Tensor:
        return self.cells


def _check_parts(model: nn.Module) -> None:
    for kind, reason in ((OracleCells, 'reads the true boxes'), (RandomCells, 'draws at random')):
        if isinstance(getattr(model, 'saliency', None), kind):
            raise ValueError(
                f'{kind.__name__} {reason}, which no graph of an image alone does: '
                'choose another saliency.'
            )
    selector = getattr(model, 'selector', None)
    if isinstance(model, DCNClassifier) and type(selector) is not TopKSelector:
        raise ValueError(
            f'{type(selector).__name__} may choose another number of patches for each '
            'image, which the graph has no room for: choose TopKSelector.'
        )


def _fix_shapes(model: onnx_ir.Model) -> None:
    """Let ``Reshape`` copy or infer the sizes that are open, where it can.

    torch computes each from the size of the image, number by number, which costs more time than
    the reshaping.
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


def _einsum(equation, tensors, path=None):
    if equation == 'nm,mr->nmr':  # of scatter_windows; ONNX Runtime is slow at outer products
        return op.Mul(op.Unsqueeze(tensors[0], [2]), tensors[1])
    return op.Einsum(*tensors, equation=equation)


def _peaks(feats, size):
    if tuple(size) != (1, 1):
        raise ValueError(f'An adaptive max pool is exported to 1×1 only, not to {size}.')
    cells = op.Reshape(feats, op.Constant(value_ints=[COPY, COPY, INFER]))  # (N, D, h·w)
    return (
        op.Unsqueeze(op.ReduceMax(cells, op.Constant(value_ints=[2])), [3]),
        op.Unsqueeze(op.ArgMax(cells, axis=2), [3]),
    )


def _shrunk(images, size, align_corners, height=None, width=None):
    # By the scale itself, as torch does it; from the two sizes, which are whole pixels, another one
    # would be worked out.
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


# Sizes and cells are never negative, for which torch's own translations are prepared.
_TRANSLATIONS = {
    torch.ops.aten.floor_divide.default: lambda dividend, divisor: op.Div(dividend, divisor),
    torch.ops.aten.remainder.Scalar: lambda dividend, divisor: op.Mod(dividend, divisor),
    torch.ops.aten.einsum.default: _einsum,
    torch.ops.aten.adaptive_max_pool2d.default: _peaks,
    torch.ops.aten._upsample_bilinear2d_aa.default: _shrunk,
}
