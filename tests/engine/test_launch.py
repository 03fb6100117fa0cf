import pytest

from mmdcn.engine.launch import load_config

from ..conftest import ROOT
from ..tools.running import QUICK


@pytest.mark.parametrize('workers', [0, 1])
def test_only_workers_that_there_are_persist(workers, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '0')
    options = {'train_dataloader.num_workers': workers}
    cfg = load_config(ROOT / QUICK, options)
    assert cfg.train_dataloader.persistent_workers is bool(workers)
    assert cfg.val_dataloader.persistent_workers is True
