_base_ = [
    '../_base_/models/svhn_coarse.py',
    '../_base_/datasets/street_numbers.py',
    '../_base_/schedules/svhn_10e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(width=0.25), head=dict(in_channels=256))
default_hooks = dict(checkpoint=dict(save_best='accuracy/sequence'))
