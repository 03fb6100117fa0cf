_base_ = [
    '../_base_/models/large_images_dcn.py',
    '../_base_/datasets/large_images.py',
    '../_base_/schedules/large_images_8e.py',
    '../_base_/default_runtime.py',
]

small_scenes = 'work_dirs/dcn-k3_1xb32-6e_small-scenes/epoch_6.pth'
model = dict(init_cfg=dict(type='Pretrained', checkpoint=small_scenes))
# The towers know digits and noise; at the head's rate they would learn the files by heart.
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(coarse=dict(lr_mult=0.05), fine=dict(lr_mult=0.05))))
