"""A head that predicts a softmax takes losses that train one."""

import pytest

from mmdcn.registry import MODELS

HEADS = [
    dict(type='GlobalMaxPoolHead', num_classes=5, in_channels=8),
    dict(type='GlobalSumPoolHead', num_classes=5, in_channels=8),
    dict(
        type='MapHead',
        in_channels=8,
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=5, in_channels=8),
    ),
]
heads = pytest.mark.parametrize('head', HEADS, ids=lambda head: head['type'])


def build(head, loss):
    """Build a head with a loss of MMPretrain's."""
    loss = {**loss, 'type': f'mmpretrain.{loss["type"]}'}
    if 'head' in head:
        return MODELS.build({**head, 'head': {**head['head'], 'loss': loss}})
    return MODELS.build({**head, 'loss': loss})


@heads
@pytest.mark.parametrize(
    'loss',
    [
        dict(type='CrossEntropyLoss', use_sigmoid=True),
        dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1e-6),
        dict(type='CrossEntropyLoss', use_sigmoid=True, pos_weight=2.0),
        dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='multi_label', num_classes=5),
        dict(type='FocalLoss'),
        dict(type='AsymmetricLoss'),
    ],
)
def test_losses_that_train_each_class_by_itself_are_refused(head, loss):
    with pytest.raises(ValueError, match=rf'this {loss["type"]} trains each class by itself'):
        build(head, loss)


@heads
@pytest.mark.parametrize(
    'loss',
    [
        dict(type='CrossEntropyLoss', loss_weight=0.5, class_weight=[1.0, 2.0, 3.0, 4.0, 5.0]),
        dict(type='CrossEntropyLoss', use_soft=True),
        dict(type='LabelSmoothLoss', label_smooth_val=0.1),
        dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='classy_vision', num_classes=5),
        dict(type='SeesawLoss', num_classes=5),
    ],
)
def test_losses_of_one_class_are_taken(head, loss):
    build(head, loss)
