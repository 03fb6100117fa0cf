"""Graphs in ONNX Runtime beside the models in PyTorch; tests/tools has Cluttered MNIST's DCN."""

from types import SimpleNamespace

import onnx_ir
import onnxruntime
import pytest
import torch
from mmengine.registry import init_default_scope

from mmdcn.deployment import TOLERANCE, RawToOutputs, differences, export_onnx
from mmdcn.registry import MODELS
from mmdcn.structures import Cells, Measured

from ..models.dcns import build_dcn, build_svhn_dcn, digits, sharp_dcn, stir_statistics
from .agreement import assert_a_dcn_agrees

GREY = dict(mean=[127.5], std=[127.5])


def raw(number, height, width, channels=1):
    return torch.randint(0, 256, (number, channels, height, width), dtype=torch.uint8)


def in_onnx_runtime(path, images):
    """Name -> output."""
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(
        zip(
            names,
            map(torch.from_numpy, session.run(names, {'images': images.numpy()})),
            strict=True,
        )
    )


def exported(model, path, *size, channels=1):
    onnx_ir.save(export_onnx(model, (channels, *size)), path)
    return model, path


@pytest.fixture(scope='module')
def svhn(tmp_path_factory):
    torch.manual_seed(0)
    init_default_scope('mmdcn')
    dcn = build_svhn_dcn(data_preprocessor=GREY).eval()
    return exported(dcn, tmp_path_factory.mktemp('svhn') / 'dcn.onnx', 54, 110)


@pytest.mark.parametrize(
    'number, height, width',
    [(1, 54, 110), (1, 70, 142), (2, 108, 220), (3, 101, 187), (1, 150, 111)],
)
def test_the_sequence_dcn_answers_as_in_pytorch(svhn, number, height, width):
    dcn, path = svhn
    images = raw(number, height, width)
    found = in_onnx_runtime(path, images)
    assert list(found) == ['log_probabilities', 'sequence', 'cells', 'patch_bboxes', 'saliency']
    assert_a_dcn_agrees(found, dcn, images)


def test_all_cells_are_taken_where_there_are_fewer_than_k(svhn):
    found = in_onnx_runtime(svhn[1], raw(2, 54, 126))
    assert found['cells'].sort().values.tolist() == [[0, 1], [0, 1]]


def test_an_image_smaller_than_the_tower_takes_is_refused(svhn):
    with pytest.raises(Exception, match='(?i)shape|size'):
        in_onnx_runtime(svhn[1], raw(1, 20, 30))


@pytest.mark.parametrize(
    'selector',
    [
        dict(type='EntropySelector', k=6, threshold=0.01, full_threshold=1.0),
        dict(type='MassSelector', k=6, share=0.03),
    ],
    ids=['entropy', 'mass'],
)
def test_budgets_by_image_are_those_of_pytorch_also_without_a_patch(selector, tmp_path):
    dcn = sharp_dcn(selector=selector, data_preprocessor=GREY).eval()
    _, path = exported(dcn, tmp_path / 'dcn.onnx', 100, 100)
    images = (255 * digits(6)).to(torch.uint8)
    with torch.no_grad():
        outputs = RawToOutputs(dcn)(images)
    assert len(set(outputs['budgets'].tolist())) > 1
    for batch in (images, images[:1], images[outputs['budgets'].argmin(), None]):
        with torch.no_grad():
            expected = RawToOutputs(dcn)(batch)
        found = in_onnx_runtime(path, batch)
        for name in ('budgets', 'cells', 'patch_bboxes'):
            assert torch.equal(found[name], expected[name])
        torch.testing.assert_close(found['logits'], expected['logits'], rtol=0, atol=1e-4)
        different = differences(dcn, onnxruntime.InferenceSession(path), batch)
        assert different['budgets'] == different['cells'] == 0


def test_a_coarse_tower_sees_the_same_small_image_of_any_size(tmp_path):
    dcn, path = exported(
        build_dcn(
            coarse_scale=0.3,  # bytes would round differently from library to library
            grid=dict(stride=16, offset=15),
            data_preprocessor=dict(type='LateNormalization', **GREY),
        ).eval(),
        tmp_path / 'dcn.onnx',
        128,
        160,
    )
    for height, width in ((260, 320), (261, 343)):  # the scale divides the first only
        images = raw(2, height, width)
        assert_a_dcn_agrees(in_onnx_runtime(path, images), dcn, images)


@pytest.mark.parametrize(
    'backbone, head',
    [
        (
            dict(type='ClutteredMNISTFine', in_channels=3),
            dict(type='GlobalMaxPoolHead', num_classes=10, in_channels=24),
        ),
        (
            dict(type='SVHNFine', in_channels=3, width=1 / 32),
            dict(type='SequenceHead', in_channels=32, window=(6, 13), pooling='inverse_entropy'),
        ),
    ],
    ids=['classes', 'sequence'],
)
def test_a_classifier_of_one_tower_answers_as_in_pytorch(backbone, head, tmp_path):
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=backbone,
            head=head,
            data_preprocessor=dict(mean=[1.0, 20.0, 3.0], std=[40.0, 50.0, 60.0], to_rgb=True),
        )
    ).eval()
    stir_statistics(model)
    _, path = exported(model, tmp_path / 'tower.onnx', 54, 110, channels=3)
    for size in ((1, 54, 110), (3, 67, 133)):
        images = raw(*size, channels=3)
        (name, found), *more = in_onnx_runtime(path, images).items()
        with torch.no_grad():
            logits = model(model.data_preprocessor(dict(inputs=images))['inputs'])
        torch.testing.assert_close(found, logits, rtol=0, atol=1e-4)
        assert (name, [name for name, _ in more]) in (
            ('logits', []),
            ('log_probabilities', ['sequence']),
        )


def test_a_graph_of_other_weights_is_told_from_the_model(svhn):
    dcn, path = svhn
    session, images = onnxruntime.InferenceSession(path), raw(2, 70, 142)
    assert max(differences(dcn, session, images).values()) <= TOLERANCE
    other = build_svhn_dcn(data_preprocessor=GREY).eval()
    found = differences(other, session, images)
    assert found['log_probabilities'] > TOLERANCE and found['cells'] > TOLERANCE


class Graph:
    """A session whose outputs are given."""

    def __init__(self, outputs):
        self.outputs = outputs

    def get_outputs(self):
        return [SimpleNamespace(name=name) for name in self.outputs]

    def run(self, names, feeds):
        return [self.outputs[name].numpy() for name in names]


def test_cells_that_are_less_salient_are_a_difference_and_equally_salient_ones_are_none():
    dcn = build_dcn(selector=dict(k=2)).eval()
    dcn.saliency = Plateau()
    images = raw(1, 100, 100)
    for cells, difference in (([0, 1], 0), ([1, 0], 0), ([2, 0], 0), ([0, 3], 0.5)):
        looking = build_dcn(selector=dict(k=4)).eval()
        looking.load_state_dict(dcn.state_dict())
        looking.saliency, looking.selector = dcn.saliency, Given([cells])
        with torch.no_grad():
            found = differences(dcn, Graph(RawToOutputs(looking)(images)), images)
        assert found.pop('cells') == difference and max(found.values()) == 0


class Plateau(torch.nn.Module):
    """Three cells are equally salient, the others half as much."""

    def forward(self, coarse, head, data_samples=None):
        saliency = torch.full_like(coarse[:, 0], 0.5)
        saliency.flatten(1)[:, :3] = 1
        return Measured(saliency)


class Given(torch.nn.Module):
    def __init__(self, cells):
        super().__init__()
        self.cells = torch.tensor(cells)

    def forward(self, measured):
        return Cells.fixed(self.cells, measured.grid)


@pytest.mark.parametrize(
    'parts, message',
    [
        (
            dict(saliency=dict(type='RandomCells')),
            'RandomCells draws at random, which no graph of an '
            'image alone does: choose another saliency.',
        ),
        (dict(saliency=dict(type='OracleCells')), 'OracleCells reads the true boxes'),
    ],
)
def test_a_part_that_no_graph_can_hold_is_named(parts, message):
    dcn = build_dcn(**parts)
    with pytest.raises(ValueError, match=message):
        export_onnx(dcn, (1, 50, 50))
