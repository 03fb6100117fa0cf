"""Labels of a test set mean the classes that the model learned."""

import re
import shutil

import cv2
import numpy as np
import pytest
import torch

from .running import run_tool

SHADES = dict(ant=0, bee=80, cat=160, dog=240)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder with images in folders of classes, a config and a checkpoint."""
    root = tmp_path_factory.mktemp('classes')
    for name, shade in SHADES.items():
        (root / 'images' / name).mkdir(parents=True)
        for index in range(2):
            image = np.full((32, 32, 3), shade + index, np.uint8)
            cv2.imwrite(str(root / 'images' / name / f'{index}.png'), image)
    (root / 'config.py').write_text(f"""
default_scope = 'mmdcn'
model = dict(
    type='ImageClassifier', backbone=dict(type='LeNet5', num_classes=-1),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=4, in_channels=120))
data_preprocessor = dict(mean=[128.], std=[64.], num_classes=4)
loader = dict(batch_size=4, num_workers=0)
folder = dict(
    type='CustomDataset', data_root={str(root / 'images')!r},
    pipeline=[dict(type='LoadImageFromFile', color_type='grayscale'), dict(type='PackInputs')])
train_dataloader = dict(
    **loader, sampler=dict(type='DefaultSampler', shuffle=True), dataset=folder)
val_dataloader = dict(**loader, sampler=dict(type='DefaultSampler', shuffle=False), dataset=folder)
test_dataloader = val_dataloader
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = test_cfg = dict()
val_evaluator = test_evaluator = dict(type='Accuracy')
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
""")
    run_tool('tools/train.py', root / 'config.py', '--work-dir', root / 'work')
    return root


def without_bee(root, where):
    shutil.copytree(root / 'images', where)
    shutil.rmtree(where / 'bee')
    return where


def run(tool, root, work, *options, checkpoint='work/epoch_1.pth', code=0):
    weights = [root / checkpoint] if tool == 'test' else []
    arguments = ['--work-dir', work, '--cfg-options', 'launcher=none', *options]
    return run_tool(f'tools/{tool}.py', root / 'config.py', *weights, *arguments, code=code)


@pytest.mark.parametrize('tool, subset', [('test', 'test'), ('train', 'val')])
def test_a_class_that_is_missing_is_named(tool, subset, trained, tmp_path):
    folder = without_bee(trained, tmp_path / 'images')
    option = f'{subset}_dataloader.dataset.data_root={folder}'
    printed = run(tool, trained, tmp_path / 'work', option, code=1)
    assert f'The {subset} set numbers classes otherwise than ' in printed
    assert ": it lacks 'bee'. " in printed
    (folder / 'bee').mkdir()  # the remedy
    assert 'accuracy/top1' in run(tool, trained, tmp_path / 'work', option)


@pytest.mark.parametrize(
    'labels, classes, message',
    [
        ('list.txt', 'dog,ant,bee,cat', 'the same names are in another order'),
        ('', 'ant,bee,cat,eel', "it lacks 'dog'; the checkpoint .* lacks 'eel'"),
    ],
)
def test_classes_in_another_order_and_with_other_names_are_refused(
    labels, classes, message, trained, tmp_path
):
    (tmp_path / 'list.txt').write_text('ant/0.png 1\ndog/1.png 0\n')
    options = [f'test_dataloader.dataset.classes=[{classes}]']
    options += [f'test_dataloader.dataset.ann_file={tmp_path / labels}'] if labels else []
    printed = run('test', trained, tmp_path, *options, code=1)
    assert re.search(message, printed)


@pytest.mark.parametrize('tool, subset', [('test', 'test'), ('train', 'train'), ('train', 'val')])
def test_names_that_do_not_follow_the_folders_are_refused(tool, subset, trained, tmp_path):
    option = f'{subset}_dataloader.dataset.classes=[dog,ant,bee,cat]'
    printed = run(tool, trained, tmp_path, option, code=1)
    assert (
        "CustomDataset numbers its folders in the order 'ant', 'bee', 'cat' and 1 more" in printed
    )
    assert "names them in the order 'dog', 'ant', 'bee' and 1 more: leave classes out" in printed


def test_a_head_of_another_number_of_classes_is_not_trained(trained, tmp_path):
    printed = run('train', trained, tmp_path, 'model.head.num_classes=5', code=1)
    assert 'The head tells 5 classes apart, and the train set has 4: set num_classes' in printed


def test_folders_with_other_names_pass_with_the_names_of_the_classes(trained, tmp_path):
    shutil.copytree(trained / 'images', tmp_path / 'images')
    for number, name in enumerate(SHADES):
        (tmp_path / 'images' / name).rename(tmp_path / 'images' / f'n0{number}')
    options = [f'test_dataloader.dataset.data_root={tmp_path / "images"}']
    assert "it lacks 'ant', 'bee', 'cat' and 1 more" in run(
        'test', trained, tmp_path, *options, code=1
    )
    options.append(f'test_dataloader.dataset.classes=[{",".join(SHADES)}]')
    assert 'accuracy/top1' in run('test', trained, tmp_path, *options)


def test_of_a_checkpoint_without_names_only_their_number_is_known(trained, tmp_path):
    weights = torch.load(trained / 'work' / 'epoch_1.pth', weights_only=False)['state_dict']
    torch.save(dict(state_dict=weights), trained / 'weights.pth')
    folder = without_bee(trained, tmp_path / 'images')
    option = f'test_dataloader.dataset.data_root={folder}'
    printed = run('test', trained, tmp_path, option, checkpoint='weights.pth', code=1)
    assert 'The head tells 4 classes apart, and the test set has 3: set num_classes' in printed
    assert 'accuracy/top1' in run('test', trained, tmp_path, checkpoint='weights.pth')


def test_images_without_classes_are_tested(trained, tmp_path):
    (tmp_path / 'list.txt').write_text('ant/0.png 0\ndog/1.png 3\n')
    option = f'test_dataloader.dataset.ann_file={tmp_path / "list.txt"}'
    assert 'accuracy/top1' in run('test', trained, tmp_path, option)


def test_a_run_is_not_resumed_with_other_classes(trained, tmp_path):
    options = [
        f'{subset}_dataloader.dataset.classes=[ant,bee,cat,eel]' for subset in ('train', 'val')
    ]
    options += ['resume=True', f'load_from={trained / "work" / "epoch_1.pth"}']
    with pytest.raises(ValueError, match='The train set numbers classes otherwise than the check'):
        run('train', trained, tmp_path, *options)
