_base_ = [
    '../_base_/models/svhn_coarse.py',
    '../_base_/datasets/svhn.py',
    '../_base_/schedules/svhn_10e.py',
    '../_base_/default_runtime.py',
]

default_hooks = dict(checkpoint=dict(save_best='accuracy/sequence'))
work_dir = f'work_dirs/coarse_1xb128-10e_{_base_.root_name}'
