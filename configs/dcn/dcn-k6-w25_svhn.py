_base_ = [
    '../_base_/models/svhn_dcn.py',
    '../_base_/datasets/svhn.py',
    '../_base_/schedules/svhn_small_5e.py',
    '../_base_/default_runtime.py',
]

coarse_model = f'work_dirs/coarse-w25_1xb32-10e_{_base_.root_name}/epoch_10.pth'
fine_model = f'work_dirs/fine-w25_1xb32-5e_{_base_.root_name}/epoch_5.pth'
model = dict(
    coarse=dict(width=0.25,
        init_cfg=dict(type='Pretrained', checkpoint=coarse_model, prefix='backbone.')),
    saliency=dict(head=dict(in_channels=256,
        init_cfg=dict(type='Pretrained', checkpoint=coarse_model, prefix='head.'))),
    fine=dict(width=0.25,
        init_cfg=dict(type='Pretrained', checkpoint=fine_model, prefix='backbone.')),
    head=dict(in_channels=256,
        init_cfg=dict(type='Pretrained', checkpoint=fine_model, prefix='head.')),
)

default_hooks = dict(checkpoint=dict(save_best='accuracy/sequence'))
work_dir = f'work_dirs/dcn-k6-w25_{_base_.root_name}'
