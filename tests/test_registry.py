import mmpretrain.registry as parents
import pytest
from mmengine.config import Config

from mmdcn.models import DCNClassifier

from .conftest import ROOT
from .registered import registries
from .tools.running import run_python


@pytest.mark.parametrize('name', sorted(parents.__all__))
def test_each_registry_of_mmpretrain_has_a_child_here(name):
    child = registries()[name]
    assert child.parent is getattr(parents, name)
    assert child.scope == 'mmdcn' and child.name == child.parent.name


def test_parts_of_mmpretrain_are_found_without_a_prefix():
    model = registries()['MODELS'].build(dict(type='ResNet', depth=18))
    assert type(model).__module__ == 'mmpretrain.models.backbones.resnet'


def test_an_mmpretrain_config_names_parts_of_mmdcn_with_nothing_imported():
    printed = run_python(
        '-c',
        """
import sys
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, HOOKS, METRICS, MODELS
init_default_scope('mmpretrain')
assert 'mmdcn' not in sys.modules
print(MODELS.build(dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18),
                        head=dict(type='mmdcn.GlobalMaxPoolHead', num_classes=3, in_channels=512))))
print(HOOKS.build(dict(type='mmdcn.SetEpochHook')), METRICS.build(dict(type='mmdcn.PatchHit')))
print(DATASETS.get('mmdcn.ClutteredMNIST'))
""",
    )
    for name in ('GlobalMaxPoolHead', 'SetEpochHook', 'PatchHit', 'ClutteredMNIST'):
        assert name in printed


def test_a_whole_dcn_is_built_from_an_mmpretrain_scope():
    cfg = Config.fromfile(ROOT / 'configs/dcn/dcn-k8_1xb128-60e_cluttered-mnist.py')

    def prefixed(part):
        return {
            key: f'mmdcn.{value}'
            if key == 'type'
            else prefixed(value)
            if isinstance(value, dict)
            else value
            for key, value in part.items()
        }

    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        assert isinstance(parents.MODELS.build(prefixed(cfg.model)), DCNClassifier)
