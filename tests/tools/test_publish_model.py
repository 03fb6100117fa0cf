import hashlib
import runpy
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import save_checkpoint

from mmdcn import DCNInferencer

from ..conftest import ROOT
from ..models.dcns import build_dcn

TOOL = ROOT / 'tools' / 'model_converters' / 'publish_model.py'
CONFIG = ROOT / 'configs' / 'dcn' / 'dcn-k8_1xb128-60e_cluttered-mnist.py'


@pytest.fixture
def publish(monkeypatch):

    def run(*args) -> None:
        monkeypatch.setattr(sys, 'argv', list(map(str, (TOOL, *args))))
        runpy.run_path(str(TOOL), run_name='__main__')

    return run


@pytest.fixture
def run_checkpoint(tmp_path):
    """What a training run saves, and its model."""
    model, config = build_dcn(), Config.fromfile(CONFIG)
    config.work_dir = '/somewhere/private'
    optimizer = torch.optim.Adam(model.parameters())
    path = tmp_path / 'epoch_60.pth'
    save_checkpoint(
        dict(
            state_dict=model.state_dict(),
            optimizer=optimizer.state_dict(),
            message_hub=dict(loss=HistoryBuffer([1.0], [1])),
            meta=dict(
                cfg=config.pretty_text,
                epoch=60,
                time='today',
                experiment_name='private',
                dataset_meta=dict(classes=tuple('0123456789')),
            ),
        ),
        str(path),
    )
    return model, path


def test_a_published_file_is_the_model_and_nothing_of_the_run(publish, run_checkpoint, tmp_path):
    model, path = run_checkpoint
    publish(path, '--out', tmp_path / 'new' / 'dcn.pth')
    (published,) = (tmp_path / 'new').iterdir()
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    assert published.name == f'dcn-{digest[:8]}.pth'
    content = torch.load(published, weights_only=True)
    assert set(content) == {'meta', 'state_dict'} and 'private' not in str(content['meta'])
    assert set(content['meta']) == {'cfg', 'epoch', 'dataset_meta'}
    inferencer = DCNInferencer(published)
    assert inferencer.classes == tuple('0123456789')
    for name, weight in inferencer.model.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])


def test_what_is_no_checkpoint_is_refused_and_nothing_is_left(publish, tmp_path):
    path = tmp_path / 'epoch_1.pth'
    path.write_bytes(b'no checkpoint')
    with pytest.raises(SystemExit, match='is not a checkpoint'):
        publish(path, '--out', tmp_path / 'new' / 'dcn.pth')
    assert [left.name for left in tmp_path.iterdir()] == ['epoch_1.pth']


def test_the_weights_that_come_along_are_published_so():
    for path in (ROOT / 'checkpoints').iterdir():
        content = torch.load(path, weights_only=True)
        assert set(content) == {'meta', 'state_dict'} and 'work_dir' not in content['meta']['cfg']
        assert path.stem[-8:] == hashlib.sha256(path.read_bytes()).hexdigest()[:8]
