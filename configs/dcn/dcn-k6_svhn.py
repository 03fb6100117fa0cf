_base_ = [
    '../_base_/models/svhn_dcn.py',
    '../_base_/datasets/svhn.py',
    '../_base_/schedules/svhn_10e.py',
    '../_base_/default_runtime.py',
]

coarse_model = f'work_dirs/coarse_1xb128-10e_{_base_.root_name}/epoch_10.pth'
fine_model = f'work_dirs/fine_1xb128-10e_{_base_.root_name}/epoch_10.pth'
model = dict(
    coarse=dict(
        init_cfg=dict(type='Pretrained', checkpoint=coarse_model, prefix='backbone.')),
    saliency=dict(head=dict(
        init_cfg=dict(type='Pretrained', checkpoint=coarse_model, prefix='head.'))),
    fine=dict(
        init_cfg=dict(type='Pretrained', checkpoint=fine_model, prefix='backbone.')),
    head=dict(
        init_cfg=dict(type='Pretrained', checkpoint=fine_model, prefix='head.')),
)

default_hooks = dict(checkpoint=dict(save_best='accuracy/sequence'))
work_dir = f'work_dirs/dcn-k6_{_base_.root_name}'
