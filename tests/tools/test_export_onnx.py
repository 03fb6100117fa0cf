import runpy
import sys

import onnx
import onnxruntime
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import save_checkpoint

from mmdcn.utils.build import build_model
from tools.deploy import export_onnx

from ..conftest import ROOT
from ..deployment.agreement import assert_a_dcn_agrees
from ..models.dcns import build_dcn, stir_statistics

TOOL = ROOT / 'tools' / 'deploy' / 'export_onnx.py'
CONFIG = ROOT / 'configs' / 'dcn' / 'dcn-k8_1xb128-60e_cluttered-mnist.py'
FINE = ROOT / 'configs' / 'dcn' / 'fine_1xb128-60e_cluttered-mnist.py'
SVHN = ROOT / 'configs' / 'dcn' / 'dcn-k6_svhn.py'
SHAPE = ('--shape', 1, 60, 60)


@pytest.fixture(scope='module')
def export():
    """Runs the tool in this process."""

    def run(*args) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, 'argv', list(map(str, (TOOL, *args))))
            runpy.run_path(str(TOOL), run_name='__main__')

    return run


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A model and its checkpoint."""
    torch.manual_seed(0)
    init_default_scope('mmdcn')
    model = build_model(Config.fromfile(CONFIG))
    stir_statistics(model)
    path = tmp_path_factory.mktemp('trained') / 'epoch_60.pth'
    save_checkpoint(dict(state_dict=model.state_dict()), str(path))
    return model, path


@pytest.fixture(scope='module')
def graph(export, trained, tmp_path_factory):
    path = tmp_path_factory.mktemp('exported') / 'new' / 'dcn.onnx'
    export(CONFIG, trained[1], '--out', path, *SHAPE)
    return path


def test_only_the_checked_file_is_left(graph):
    assert [path.name for path in graph.parent.iterdir()] == ['dcn.onnx']
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph)
    (image,) = session.get_inputs()
    assert (image.name, image.type) == ('images', 'tensor(uint8)')
    assert image.shape == ['batch', 1, 'height', 'width']
    assert [output.name for output in session.get_outputs()] == [
        'logits',
        'cells',
        'patch_bboxes',
        'saliency',
    ]


@pytest.mark.parametrize(
    'number, height, width',
    [(1, 100, 100), (4, 100, 100), (1, 41, 87), (2, 99, 62), (3, 23, 23), (128, 30, 31)],
)
def test_the_graph_answers_as_pytorch(graph, trained, number, height, width):
    images = torch.randint(0, 256, (number, 1, height, width), dtype=torch.uint8)
    session = onnxruntime.InferenceSession(graph)
    names = [output.name for output in session.get_outputs()]
    found = map(torch.from_numpy, session.run(names, {'images': images.numpy()}))
    assert_a_dcn_agrees(dict(zip(names, found, strict=True)), trained[0], images)


def test_two_threads_add_up_all_windows(graph):
    """ScatterND adds to the same rows many times; threads must not overtake each other."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(graph, options)
    images = torch.randint(0, 256, (16, 1, 100, 100), dtype=torch.uint8).numpy()
    first, *others = (session.run(['saliency'], {'images': images})[0] for _ in range(10))
    for other in others:
        torch.testing.assert_close(torch.from_numpy(other), torch.from_numpy(first))


@pytest.mark.parametrize(
    'args, message',
    [
        (
            ['configs/none.py', 'a.pth'],
            'The config configs/none.py is not there; those of mmdcn are in configs/.',
        ),
        ([CONFIG, 'none.pth'], 'The checkpoint none.pth is not there.'),
        (
            [CONFIG],
            f'{CONFIG} does not name the weights of all parts in an init_cfg: pass a checkpoint.',
        ),
        ([SVHN], 'The checkpoint work_dirs/coarse_1xb128-10e_svhn/epoch_10.pth is not there.'),
    ],
)
def test_what_is_not_there_is_named(export, tmp_path, args, message):
    with pytest.raises(SystemExit) as caught:
        export(*args, '--out', tmp_path / 'dcn.onnx', *SHAPE)
    assert caught.value.code.startswith(message)


def test_weights_of_another_model_are_refused(export, trained, tmp_path):
    with pytest.raises(
        SystemExit,
        match='The checkpoint .*epoch_60.pth is of another model than '
        'this ImageClassifier: it lacks backbone',
    ):
        export(FINE, trained[1], '--out', tmp_path / 'fine.onnx', *SHAPE)


@pytest.mark.parametrize(
    'shape, options, message',
    [
        (
            (1, 12, 12),
            (),
            'The model cannot be exported with images of 1×12×12: GlobalMaxPoolHead '
            'needs a feature map of at least 4×4 cells, got 1×1: enlarge the image',
        ),
        (
            (1, 60, 60),
            ('model.saliency.type=RandomCells',),
            'The model cannot be exported with images of 1×60×60: RandomCells draws at random',
        ),
    ],
)
def test_a_model_that_cannot_be_exported_is_named(
    export, trained, tmp_path, shape, options, message
):
    options = ('--cfg-options', *options) if options else ()
    with pytest.raises(SystemExit, match=message):
        export(CONFIG, trained[1], '--out', tmp_path / 'dcn.onnx', '--shape', *shape, *options)
    assert not list(tmp_path.iterdir())


def test_a_saliency_that_needs_a_backward_pass_is_named(tmp_path):
    dcn = build_dcn(head=dict(norm_cfg=dict(type='IN'))).eval()
    with pytest.raises(
        ValueError,
        match='A part of this DCNClassifier cannot be expressed in ONNX, such as '
        'a saliency that needs a backward pass ',
    ):
        export_onnx.write(dcn, (1, 60, 60), tmp_path / 'dcn.onnx')


def test_a_graph_that_disagrees_is_not_kept(graph):
    model = build_model(Config.fromfile(CONFIG))
    with pytest.raises(
        ValueError, match="ONNX Runtime's .* differs from PyTorch's by .*; nothing was written."
    ):
        export_onnx.compare(model, (1, 60, 60), graph)


@pytest.mark.parametrize('package', ['onnx', 'onnxruntime', 'onnxscript'])
def test_a_package_that_is_not_installed_is_named(export, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    for module in ('mmdcn.deployment', 'mmdcn.deployment.onnx'):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(
        SystemExit,
        match=f'Exporting needs {package}, which is not installed: run '
        '`pip install -r requirements/optional.txt`.',
    ):
        export('--help')
