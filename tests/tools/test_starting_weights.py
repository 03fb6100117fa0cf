"""Training starts from the weights that the config names, or says why not."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from mmengine.config import Config

from mmdcn.engine.launch import build_train_runner, load_config
from mmdcn.utils.build import build_model

from ..conftest import ROOT
from .running import QUICK, Clock

COARSE = 'configs/dcn/coarse_1xb128-60e_cluttered-mnist.py'


@pytest.fixture(scope='module')
def coarse(tmp_path_factory):
    """A checkpoint of the coarse model, whose head is that of a DCN."""
    path = tmp_path_factory.mktemp('coarse') / 'coarse.pth'
    torch.save(dict(state_dict=build_model(Config.fromfile(ROOT / COARSE)).state_dict()), path)
    return path


@pytest.fixture
def build(monkeypatch, tmp_path, mnist_root):
    """Build a runner of a config with options."""
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr('mmengine.runner.runner.time', Clock)

    def build(config, **options):
        few = {'train_dataloader.dataset.indices': 2, 'val_dataloader.dataset.indices': 2}
        options = {**few, **{name.replace('__', '.'): value for name, value in options.items()}}
        return build_train_runner(load_config(ROOT / config, options, work_dir=str(tmp_path)))

    return build


@pytest.fixture
def address(coarse):
    """The address of the checkpoint on a server."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(coarse.parent))
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/{coarse.name}'
    server.shutdown()


@pytest.mark.parametrize('where', ['file', 'address'])
def test_weights_of_a_model_without_a_common_tower_are_refused(where, build, coarse, address):
    source = str(coarse) if where == 'file' else address
    with pytest.raises(
        ValueError,
        match=r'Not one weight of the checkpoint .*coarse.pth fits this DCNClassifier, which has '
        r"coarse\.\S+ and \d+ more: the checkpoint has .* init_cfg=dict\(type='Pretrained', "
        r"checkpoint=\.\.\., prefix='backbone\.'\)",
    ):
        build(QUICK, load_from=source)


def test_weights_of_another_shape_fit_as_little(build, coarse, tmp_path):
    weights = torch.load(coarse)['state_dict']
    torch.save({name: torch.stack([w, w]) for name, w in weights.items()}, tmp_path / 'two.pth')
    with pytest.raises(ValueError, match='fits this ImageClassifier'):
        build(COARSE, load_from=str(tmp_path / 'two.pth'))


def test_a_fine_tuned_model_may_have_another_head(build, coarse):
    build(COARSE, load_from=str(coarse), model__head__mid_channels=8)


@pytest.mark.parametrize(
    'prefix, holds', [('tower.', 'none of this prefix'), (None, r'backbone\.\S+ and \d+ more')]
)
def test_named_weights_that_do_not_fit_their_part_are_refused(prefix, holds, build, coarse):
    named = dict(type='Pretrained', checkpoint=str(coarse), prefix=prefix)
    with pytest.raises(
        ValueError, match=rf'fits this ClutteredMNISTCoarse, .* has {holds}\. Set .* of coarse: '
    ):
        build(QUICK, model__coarse__init_cfg=named)


def test_named_weights_that_are_not_there_are_missed(build):
    named = dict(type='Pretrained', checkpoint='none.pth')
    with pytest.raises(FileNotFoundError, match='The checkpoint none.pth is not there'):
        build(QUICK, model__coarse__init_cfg=named)


def test_named_weights_that_fit_are_loaded(build, coarse):
    named = dict(type='Pretrained', checkpoint=str(coarse), prefix='backbone.')
    model = build(QUICK, model__coarse__init_cfg=named).model
    model.init_weights()
    weight = torch.load(coarse)['state_dict']['backbone.layers.0.conv.weight']
    assert torch.equal(model.coarse.layers[0].conv.weight.cpu(), weight)
