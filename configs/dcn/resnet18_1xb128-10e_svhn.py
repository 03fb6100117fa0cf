# MMPretrain's ResNet-18 with a head that reads numbers.
_base_ = [
    '../_base_/datasets/svhn.py',
    '../_base_/schedules/svhn_10e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, in_channels=1),
    head=dict(type='SequenceHead', in_channels=512),
)

default_hooks = dict(checkpoint=dict(save_best='accuracy/sequence'))
work_dir = f'work_dirs/resnet18_1xb128-10e_{_base_.root_name}'
