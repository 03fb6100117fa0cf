_base_ = [
    '../_base_/models/svhn_dcn.py',
    '../_base_/datasets/street_numbers.py',
    '../_base_/schedules/street_numbers_5e.py',
    '../_base_/default_runtime.py',
]

coarse_model = 'work_dirs/coarse-w25_1xb32-10e_street-numbers/epoch_10.pth'
fine_model = 'work_dirs/fine-w25_1xb32-5e_street-numbers/epoch_5.pth'
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
