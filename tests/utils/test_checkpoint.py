import pickle

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.model import PretrainedInit
from mmengine.runner import save_checkpoint
from torch import nn

from mmdcn.registry import MODELS
from mmdcn.utils.checkpoint import (
    Checkpoint,
    config_of,
    load_named_weights,
    load_weights,
    read_checkpoint,
)

from ..registered import CONFIGS

PRETRAINED = ['Pretrained', 'mmengine.Pretrained', 'mmengine.model.PretrainedInit', PretrainedInit]


def with_config(text: str, path='some.pth') -> Checkpoint:
    return Checkpoint(path, {}, dict(cfg=text))


def test_weights_and_meta_of_a_training_run_are_read(tmp_path):
    path, model = tmp_path / 'epoch_1.pth', nn.Linear(2, 3)
    save_checkpoint(
        dict(
            state_dict=model.state_dict(),
            meta=dict(epoch=1),
            message_hub=dict(loss=HistoryBuffer([1.0], [1])),
        ),
        str(path),
    )
    checkpoint = read_checkpoint(path)
    assert checkpoint.meta['epoch'] == 1
    other = nn.Linear(2, 3)
    load_weights(other, checkpoint)
    assert torch.equal(other.weight, model.weight) and torch.equal(other.bias, model.bias)


def test_bare_weights_and_those_of_a_wrapped_model_are_read(tmp_path):
    model = nn.Linear(2, 3)
    torch.save(model.state_dict(), tmp_path / 'bare.pth')
    torch.save(
        dict(
            state_dict=nn.Sequential().state_dict()
            | {f'module.{name}': weight for name, weight in model.state_dict().items()}
        ),
        tmp_path / 'wrapped.pth',
    )
    for name in ('bare.pth', 'wrapped.pth'):
        assert list(read_checkpoint(tmp_path / name).weights) == ['weight', 'bias']


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


@pytest.mark.parametrize(
    'save',
    [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))],
    ids=['torch', 'pickle'],
)
def test_code_in_a_pickle_is_not_run(tmp_path, save):
    path, trace = tmp_path / 'model.pth', tmp_path / 'trace'
    save(dict(state_dict=Harmful(trace)), path)
    with pytest.raises(
        ValueError,
        match='model.pth is not a checkpoint that can be read without running code in it',
    ):
        read_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'text',
        b'PK\3\4',
        pickle.dumps([1, 2]),
        pickle.dumps(dict(state_dict=3)),
        pickle.dumps(dict(state_dict={})),
    ],
)
def test_another_kind_of_file_is_refused(tmp_path, content):
    path = tmp_path / 'model.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='model.pth is .*(not a checkpoint|cut or is none)'):
        read_checkpoint(path)


def test_a_cut_checkpoint_is_refused(tmp_path):
    path = tmp_path / 'model.pth'
    torch.save(nn.Linear(99, 99).state_dict(), path)
    path.write_bytes(path.read_bytes()[:9999])
    with pytest.raises(ValueError, match='model.pth is cut or is none'):
        read_checkpoint(path)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='The checkpoint .*none.pth is not there'):
        read_checkpoint(tmp_path / 'none.pth')


def test_weights_of_another_model_are_told_apart_and_none_is_loaded():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    before = [weight.clone() for weight in model.parameters()]
    given = {
        '0.weight': torch.ones(3, 2),
        '0.bias': torch.ones(5),
        'fc.weight': torch.ones(1),
        'fc.bias': torch.ones(1),
    }
    with pytest.raises(ValueError) as raised:
        load_weights(model, Checkpoint('a.pth', given, {}))
    assert str(raised.value) == (
        'The checkpoint a.pth is of another model than this Sequential: it lacks 1.weight and 1 '
        'more; the model has no fc.weight and 1 more; of other shape: 0.bias (5, the model 3).'
    )
    assert all(map(torch.equal, before, model.parameters()))


@pytest.mark.parametrize('path', CONFIGS[::6], ids=lambda path: path.stem)
def test_a_config_comes_out_of_a_checkpoint_as_it_went_in(path):
    cfg = Config.fromfile(path)
    assert config_of(with_config(cfg.pretty_text)).to_dict() == cfg.to_dict()


@pytest.mark.parametrize(
    'text',
    [
        'import os',
        'model = open("trace", "w")',
        'model = dict(type=print)',
        'a, b = 1, 2',
        'model =',
        'model = dict(*[1])',
        'open("trace", "w")',
        'model = dict(**open("trace", "w"))',
    ],
)
def test_code_in_the_config_of_a_checkpoint_is_not_run(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError,
        match='The config in the checkpoint some.pth holds more than '
        'plain values .*: pass the config file',
    ):
        config_of(with_config(text))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'kind',
    [
        'os.system',
        'mmengine.call_command',
        'subprocess.run',
        'Mine',
        'mmdcn.models.Mine',
        'mmdcn.models.contracts.Grid',
        'os.path.join',
        'antigravity.antigravity.webbrowser',
    ],
)
@pytest.mark.parametrize(
    'place',
    [
        'model = dict(type="ImageClassifier", neck=dict(type="{}"))',
        'test_dataloader = dict(dataset=dict(pipeline=[dict(type="{}")]))',
    ],
)
def test_a_checkpoint_gets_nothing_built_that_is_not_registered(kind, place):
    with pytest.raises(ValueError, match=f'asks for {kind}, which is not registered'):
        config_of(with_config(place.format(kind)))


@pytest.mark.parametrize(
    'kind, options',
    [
        ('HuggingFaceClassifier', 'model_name="a/b"'),
        ('TIMMBackbone', 'model_name="hf-hub:a/b"'),
        ('TIMMBackbone', 'pretrained=True'),
        ('mmpretrain.models.TIMMBackbone', 'pretrained=True'),
        ('ResNet', 'name_or_path="a/b"'),
        ('ResNet', 'pretrained_model_name_or_path="a/b"'),
        ('ResNet', 'trust_remote_code=True'),
    ],
)
def test_a_checkpoint_gets_no_model_built_that_takes_code_off_a_hub(kind, options):
    text = f'model = dict(type="ImageClassifier", backbone=dict(type="{kind}", {options}))'
    with pytest.raises(
        ValueError, match=f'asks for {kind}, which may run what it downloads: pass the config file'
    ):
        config_of(with_config(text))


@pytest.mark.parametrize('kind', ['DCNClassifier', 'mmdcn.models.classifiers.dcn.DCNClassifier'])
@pytest.mark.parametrize('augment', ['mmpretrain.Mixup', 'mmpretrain.models.Mixup'])
def test_a_checkpoint_may_name_what_is_registered_in_any_way(kind, augment):
    text = f'model = dict(type="{kind}", train_cfg=dict(augments=dict(type="{augment}")))'
    assert config_of(with_config(text)).model.train_cfg.augments.type == augment


def test_a_model_of_timm_without_downloads_is_taken():
    text = 'model = dict(type="TIMMBackbone", model_name="resnet18", pretrained=False)'
    assert config_of(with_config(text)).model.model_name == 'resnet18'


def tower_file(path, **options):
    tower = MODELS.build(dict(type='ClutteredMNISTCoarse', **options))
    head = MODELS.build(dict(type='GlobalMaxPoolHead', num_classes=10, in_channels=24))
    torch.save(
        {
            **{f'backbone.{name}': weight for name, weight in tower.state_dict().items()},
            **{f'head.{name}': weight for name, weight in head.state_dict().items()},
        },
        path,
    )
    return tower, head


def classifier(path, kind='Pretrained', **head):
    def named(prefix):
        return dict(init_cfg=dict(type=kind, checkpoint=str(path), prefix=prefix))

    return MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='ClutteredMNISTCoarse', **named('backbone')),
            head=dict(
                type='GlobalMaxPoolHead',
                num_classes=10,
                in_channels=24,
                **{**named('head.'), **head},
            ),
        )
    )


@pytest.mark.parametrize('kind', PRETRAINED)
def test_named_weights_are_all_loaded(kind, tmp_path):
    tower, head = tower_file(tmp_path / 'tower.pth')
    model = classifier(tmp_path / 'tower.pth', kind)
    load_named_weights(model)
    for mine, theirs in ((model.backbone, tower), (model.head, head)):
        assert all(map(torch.equal, mine.state_dict().values(), theirs.state_dict().values()))


def test_named_weights_of_another_tower_are_refused(tmp_path):
    tower_file(tmp_path / 'tower.pth', in_channels=3)
    with pytest.raises(
        ValueError,
        match=r'tower.pth is of another model than this Cluttered'
        r'MNISTCoarse: of other shape: layers\.0\.conv\.weight '
        r'\(12×3×7×7, the model 12×1×7×7\)',
    ):
        load_named_weights(classifier(tmp_path / 'tower.pth'))


def test_a_part_whose_weights_nobody_names_is_not_left_to_chance(tmp_path):
    tower_file(tmp_path / 'tower.pth')
    with pytest.raises(
        ValueError,
        match=r'No init_cfg of this ImageClassifier names the weights '
        r'of head\.conv\.bn\.bias and \d more: pass a checkpoint',
    ):
        load_named_weights(classifier(tmp_path / 'tower.pth', init_cfg=None))


def test_a_checkpoint_without_a_config_asks_for_one():
    with pytest.raises(ValueError, match='some.pth holds no config'):
        config_of(Checkpoint('some.pth', {}, {}))


def test_a_trainings_checkpoint_is_read_after_others_took_its_types_off_the_list(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    torch.save(
        dict(
            state_dict={'weight': torch.ones(1)}, message_hub=dict(loss=HistoryBuffer([1.0], [1]))
        ),
        path,
    )
    with torch.serialization.safe_globals([HistoryBuffer]):
        pass  # leaving takes it off, though it was there before
    assert HistoryBuffer not in torch.serialization.get_safe_globals()
    assert list(read_checkpoint(path).weights) == ['weight']
