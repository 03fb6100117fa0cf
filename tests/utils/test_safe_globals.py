import pickle
import subprocess

import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import save_checkpoint

from mmdcn.models import ClutteredMNISTCoarse
from mmdcn.registry import MODELS
from mmdcn.utils.safe_globals import register_safe_globals

from ..models.dcns import build_dcn
from ..tools.running import python


@pytest.fixture
def checkpoint(tmp_path):
    """As MMEngine's runner saves one: weights and the history of what was logged."""
    hub = MessageHub.get_instance(str(tmp_path))
    for value in (1.0, 0.5, 0.25):
        hub.update_scalar('train/loss', value)
    dcn = build_dcn()
    path = tmp_path / 'epoch_1.pth'
    save_checkpoint(
        dict(meta=dict(epoch=1), state_dict=dcn.state_dict(), message_hub=hub.state_dict()),
        str(path),
    )
    return path, dcn


def test_without_mmdcn_the_check_refuses_mmengines_checkpoint(checkpoint):
    """The trap that mmdcn mends: where this fails, the mending can go."""
    done = subprocess.run(
        **python(
            '-c',
            f"""
import mmengine.runner, torch
torch.load({str(checkpoint[0])!r}, weights_only=True)
""",
        )
    )
    assert done.returncode != 0
    assert 'UnpicklingError' in done.stdout and 'HistoryBuffer' in done.stdout


def test_importing_mmdcn_is_enough_to_load_it(checkpoint):
    subprocess.run(
        **python(
            '-c',
            f"""
import mmdcn, torch
torch.load({str(checkpoint[0])!r}, weights_only=True)
""",
        ),
        check=True,
    )


def test_with_mmdcn_the_checkpoint_loads_with_the_check_on(checkpoint):
    register_safe_globals()  # again: onedl-mmengine's loader, run before, takes them away
    loaded = torch.load(checkpoint[0], weights_only=True)
    history = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    assert history.mean() == pytest.approx(1.75 / 3) and history.min() == 0.25
    assert list(history.data[0]) == [1.0, 0.5, 0.25]


def test_a_tower_takes_its_weights_out_of_a_dcns_checkpoint(checkpoint):
    path, dcn = checkpoint
    tower = MODELS.build(
        dict(
            type='ClutteredMNISTCoarse',
            init_cfg=dict(type='Pretrained', checkpoint=str(path), prefix='coarse.'),
        )
    )
    tower.init_weights()
    assert isinstance(tower, ClutteredMNISTCoarse)
    for name, value in dcn.coarse.state_dict().items():
        assert torch.equal(tower.state_dict()[name], value), name


class Attack:
    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


class Escape:
    def __reduce__(self):
        return getattr, (torch.Tensor, 'numpy')


@pytest.mark.parametrize('payload', [Attack(), Escape()])
def test_nothing_but_the_historys_statistics_is_let_through(tmp_path, payload):
    torch.save(dict(payload=payload), tmp_path / 'bad.pth')
    with pytest.raises((ValueError, pickle.UnpicklingError), match='refused|Unsupported'):
        torch.load(tmp_path / 'bad.pth', weights_only=True)
