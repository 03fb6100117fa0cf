import re

import pytest
import torch
from mmengine.config import Config
from mmengine.model import PretrainedInit
from mmengine.registry import DefaultScope
from mmengine.runner import save_checkpoint

import mmdcn
from mmdcn.apis.model import find_model
from mmdcn.engine.launch import names_weights
from mmdcn.models import DCNClassifier

from ..conftest import ROOT
from ..registered import CONFIGS

QUICK = 'dcn-k8-hint_1xb128-4e_cluttered-mnist'
FOLDER = ROOT / 'configs' / 'dcn'


def test_the_names_of_models_are_those_of_the_configs():
    assert sorted(mmdcn.list_models()) == sorted(path.stem for path in CONFIGS)
    assert mmdcn.list_models('dcn-k24-hint_') == ['dcn-k24-hint_1xb128-60e_cluttered-mnist']
    assert mmdcn.list_models('*w25_1x*5e') == ['fine-w25_1xb32-5e_svhn']


def test_models_with_weights_come_first_and_then_names_in_order():
    first, *others = mmdcn.list_models()
    assert first == QUICK and others == sorted(others)


def test_every_name_is_found_as_it_is():
    for name in mmdcn.list_models():
        assert find_model(name).name == name


def test_a_short_name_means_the_only_such_model_or_the_one_with_weights():
    assert find_model('dcn-k24-hint').name == 'dcn-k24-hint_1xb128-60e_cluttered-mnist'
    assert find_model('dcn-k8-hint').name == QUICK
    assert find_model('coarse-w25_1xb32-10e').name == 'coarse-w25_1xb32-10e_svhn'


def test_a_short_name_of_several_models_lists_them():
    with pytest.raises(
        ValueError,
        match="'coarse' is the beginning of several models: "
        r'coarse_1xb128-10e_svhn, coarse_1xb128-60e_cluttered-mnist\.',
    ):
        find_model('coarse')


@pytest.mark.parametrize(
    'name, nearest',
    [('dcn-k8-hnt', 'dcn-k8-hint'), ('fin', 'fine'), ('dcn_k24_hint', 'dcn-k24-hint')],
)
def test_a_name_that_there_is_not_gets_the_nearest_ones(name, nearest):
    with pytest.raises(
        ValueError,
        match=f"There is no model '{name}'; the nearest names are .*"
        rf'\b{nearest}[,;]',
    ):
        mmdcn.get_model(name)


def test_the_beginning_of_several_names_gets_these():
    with pytest.raises(
        ValueError, match="'dcn-k24'; the nearest names are dcn-k24-hint, dcn-k24-hint-augmented;"
    ):
        find_model('dcn-k24')


def test_a_config_whose_weights_come_along_gets_them():
    trained = mmdcn.get_model(FOLDER / f'{QUICK}.py', pretrained=True)
    assert torch.equal(trained.head.fc.weight, mmdcn.get_model(QUICK, True).head.fc.weight)


def test_a_copy_of_a_config_does_not(tmp_path):
    copy = tmp_path / f'{QUICK}.py'
    copy.write_text(f"_base_ = '{FOLDER / QUICK}.py'")
    with pytest.raises(ValueError, match='There are no known weights for'):
        mmdcn.get_model(copy, pretrained=True)


def test_a_name_like_no_other_gets_a_hint():
    with pytest.raises(
        ValueError, match=re.escape("There is no model 'Ω'; mmdcn.list_models() gives all.")
    ):
        mmdcn.get_model('Ω')


def test_a_model_is_the_same_by_name_path_config_and_checkpoint():
    path = FOLDER / f'{QUICK}.py'
    weights = ROOT / find_model(QUICK).weights
    expected = torch.load(weights, weights_only=True)['state_dict']
    for model, pretrained in (
        (QUICK, True),
        (path, weights),
        (str(path), str(weights)),
        (Config.fromfile(path), weights),
        (weights, True),
        (str(weights), True),
        (weights, weights),
    ):
        built = mmdcn.get_model(model, pretrained)
        assert isinstance(built, DCNClassifier) and not built.training
        assert all(
            torch.equal(weight, expected[name]) for name, weight in built.state_dict().items()
        )
        assert built._config.model.losses.hint.loss_weight == 0.01
        assert built._dataset_meta['classes'][7] == '7 - seven'
        assert (built._metainfo is not None) == (str(model) in (QUICK, str(path)))


def test_without_pretrained_the_weights_are_those_of_initialisation():
    trained, fresh = mmdcn.get_model('dcn-k8-hint', True), mmdcn.get_model('dcn-k8-hint')
    assert not torch.equal(trained.head.fc.weight, fresh.head.fc.weight)
    assert fresh._dataset_meta['classes'][7] == '7 - seven'


@pytest.mark.parametrize('given', ['metainfo', 'list', 'file'])
def test_the_config_may_name_the_classes(given, tmp_path):
    names = [f'class {number}' for number in range(10)]
    (tmp_path / 'classes.txt').write_text('\n'.join(names))
    config = Config.fromfile(FOLDER / f'{QUICK}.py')
    options = dict(
        metainfo=dict(metainfo=dict(classes=names)),
        list=dict(classes=names),
        file=dict(classes=str(tmp_path / 'classes.txt')),
    )
    config.test_dataloader.dataset.update(options[given])
    assert list(mmdcn.get_model(config)._dataset_meta['classes']) == names


def test_settings_of_the_model_can_be_changed():
    assert mmdcn.get_model('dcn-k8-hint', True, selector=dict(k=12)).selector.k == 12


def test_the_callers_scope_stays_as_it_was():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        mmdcn.get_model('dcn-k8-hint', True)
        assert DefaultScope.get_current_instance().scope_name == 'mmpretrain'


def test_a_config_may_name_its_weights_with_load_from():
    config = Config.fromfile(FOLDER / f'{QUICK}.py')
    config.load_from = str(ROOT / find_model(QUICK).weights)
    trained = mmdcn.get_model(config, pretrained=True)
    assert torch.equal(trained.head.fc.weight, mmdcn.get_model(QUICK, True).head.fc.weight)


def test_towers_that_were_trained_apart_are_put_together(tmp_path):
    """As the init_cfg of SVHN's DCNs says."""
    small = dict(width=1 / 32)
    parts, expected = {}, {}
    for part, name in (('coarse', 'coarse-w25_1xb32-10e'), ('fine', 'fine-w25_1xb32-5e')):
        tower = mmdcn.get_model(name, backbone=small, head=dict(in_channels=32))
        save_checkpoint(dict(state_dict=tower.state_dict()), str(tmp_path / f'{part}.pth'))
        parts[part] = dict(init_cfg=dict(checkpoint=str(tmp_path / f'{part}.pth')))
        expected[part] = tower
    dcn = mmdcn.get_model(
        'dcn-k6-w25',
        True,
        coarse={**small, **parts['coarse']},
        fine={**small, **parts['fine']},
        saliency=dict(head=dict(in_channels=32, **parts['coarse'])),
        head=dict(in_channels=32, **parts['fine']),
    )
    for mine, theirs in (
        (dcn.coarse, expected['coarse'].backbone),
        (dcn.fine, expected['fine'].backbone),
        (dcn.head, expected['fine'].head),
        (dcn.saliency.head, expected['coarse'].head),
    ):
        assert all(map(torch.equal, mine.state_dict().values(), theirs.state_dict().values()))


def test_towers_that_are_not_there_are_named():
    with pytest.raises(
        FileNotFoundError,
        match='epoch_10.pth is not there. The init_cfg of the '
        'config names it: train that model, or pass',
    ):
        mmdcn.get_model('dcn-k6-w25', pretrained=True)


def test_a_model_whose_weights_are_unknown_asks_for_them():
    with pytest.raises(
        ValueError,
        match='There are no known weights for dcn-k24-hint_.*: pass a checkpoint as pretrained',
    ):
        mmdcn.get_model('dcn-k24-hint', pretrained=True)


WEIGHTS = dict(init_cfg=dict(type='Pretrained', checkpoint='a.pth'))
DOTTED = dict(init_cfg=dict(type='mmengine.model.PretrainedInit', checkpoint='a.pth'))
CLASS = dict(init_cfg=dict(type=PretrainedInit, checkpoint='a.pth'))
MORE = dict(init_cfg=[dict(type='Kaiming'), WEIGHTS['init_cfg']])


@pytest.mark.parametrize(
    'parts, known',
    [
        ({}, False),
        (dict(backbone=WEIGHTS), False),
        (dict(head=MORE), False),
        (dict(backbone=MORE, head=WEIGHTS), True),
        (WEIGHTS, True),
        (DOTTED, True),
        (CLASS, True),
    ],
)
def test_weights_are_known_where_all_parts_name_theirs(parts, known):
    cfg = Config(dict(model=dict(backbone=dict(type='A'), head=dict(type='B'))))
    cfg.merge_from_dict(dict(model=parts))
    assert names_weights(cfg.model) is known


def test_a_config_that_cannot_be_built_or_read_is_named(tmp_path):
    cfg = Config.fromfile(FOLDER / f'{QUICK}.py')
    cfg.model.fine.type = 'ClutterdMNISTFine'
    with pytest.raises(ValueError, match='cluttered-mnist.py cannot be built: .*ClutterdMNISTFine'):
        mmdcn.get_model(cfg)
    broken = tmp_path / 'broken.py'
    broken.write_text('model = dict(')
    with pytest.raises(ValueError, match='broken.py is not valid Python'):
        mmdcn.get_model(broken)


def test_a_checkpoint_of_another_model_is_refused():
    weights = ROOT / find_model(QUICK).weights
    with pytest.raises(
        ValueError,
        match='is of another model than this ImageClassifier: it lacks '
        r'backbone\.layers\.0\.conv\.weight and 11 more; the '
        r'model has no coarse\.layers\.0\.conv\.weight and',
    ):
        mmdcn.get_model('coarse_1xb128-60e', weights)


@pytest.mark.parametrize(
    'model, error, match',
    [
        ('configs/none.py', FileNotFoundError, 'The config configs/none.py is not there'),
        ('work_dirs/none.pth', FileNotFoundError, 'The checkpoint work_dirs/none.pth is not there'),
        (Config(dict(a=1)), ValueError, 'has no model'),
        (3, TypeError, 'A model is a name, a config file, a Config or a checkpoint, got int'),
    ],
)
def test_what_is_no_model_is_refused(model, error, match):
    with pytest.raises(error, match=match):
        mmdcn.get_model(model)


def test_the_package_offers_what_its_apis_offer():
    assert mmdcn.DCNInferencer is mmdcn.apis.DCNInferencer
    with pytest.raises(AttributeError, match="module 'mmdcn' has no attribute 'nothing'"):
        mmdcn.nothing  # noqa: B018
