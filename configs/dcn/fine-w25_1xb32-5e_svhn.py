_base_ = [
    '../_base_/models/svhn_fine.py',
    '../_base_/datasets/svhn.py',
    '../_base_/schedules/svhn_small_5e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(width=0.25, dropout=(0., 0.2)), head=dict(in_channels=256))
train_dataloader = dict(batch_size=32)
default_hooks = dict(checkpoint=dict(save_best='accuracy/sequence'))
work_dir = f'work_dirs/fine-w25_1xb32-5e_{_base_.root_name}'
