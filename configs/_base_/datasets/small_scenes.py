# Small images like the large ones, each with one digit. Pieces of noise lie five times as dense.
_base_ = './small_digits.py'

# 128×128 times 4: each pixel is repeated, as make_large_images.py repeats it.
pipeline = [
    dict(type='Resize', scale=(512, 512), interpolation='nearest'),
    dict(type='PackInputs'),
]
scenes = dict(
    _delete_=True,
    type='MegapixelMNIST',
    data_root=_base_.data_root,
    canvas_size=128,
    num_digits=1,
    num_noise=2,
    pipeline=pipeline,
)

train_dataloader = dict(batch_size=32, dataset=dict(**scenes, split='train', regenerate=True))
val_dataloader = dict(dataset=dict(**scenes, split='val'))
test_dataloader = dict(dataset=dict(**scenes, split='test'))
