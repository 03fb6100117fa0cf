import pytest
import torch

from mmdcn.engine.launch import load_config
from mmdcn.utils.build import build_model

from ..conftest import ROOT
from ..tools.running import QUICK


def test_weights_that_an_init_cfg_loads_are_kept_in_training_whatever_names_them(
    tmp_path, monkeypatch
):
    monkeypatch.setenv('LOCAL_RANK', '0')
    model = build_model(load_config(ROOT / QUICK))
    torch.save(model.state_dict(), tmp_path / 'a.pth')
    dotted = dict(type='mmengine.model.PretrainedInit', checkpoint=str(tmp_path / 'a.pth'))
    other = build_model(load_config(ROOT / QUICK, {'model.init_cfg': dotted}))
    other.init_weights()  # as a runner does before training
    for mine, theirs in zip(other.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize('workers', [0, 1])
def test_only_workers_that_there_are_persist(workers, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '0')
    options = {'train_dataloader.num_workers': workers}
    cfg = load_config(ROOT / QUICK, options)
    assert cfg.train_dataloader.persistent_workers is bool(workers)
    assert cfg.val_dataloader.persistent_workers is True
