_base_ = [
    '../_base_/models/large_images_dcn.py',
    '../_base_/datasets/small_scenes.py',
    '../_base_/schedules/small_scenes_6e.py',
    '../_base_/default_runtime.py',
]

fine_model = 'work_dirs/fine_1xb64-2e_small-digits/epoch_2.pth'
model = dict(
    selector=dict(k=3),
    fine=dict(init_cfg=dict(type='Pretrained', checkpoint=fine_model, prefix='backbone.')),
    head=dict(init_cfg=dict(type='Pretrained', checkpoint=fine_model, prefix='head.')),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(fine=dict(lr_mult=0.3))))
work_dir = 'work_dirs/dcn-k3_1xb32-6e_small-scenes'  # where the DCN of large images looks
