_base_ = [
    '../_base_/models/megapixel_mnist_downsampled.py',
    '../_base_/datasets/megapixel_mnist_500.py',
    '../_base_/schedules/megapixel_mnist_12e.py',
    '../_base_/default_runtime.py',
]

pipeline = [
    dict(type='Resize', scale=(62, 62), interpolation='area'),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(dataset=dict(pipeline=pipeline))

model = dict(backbone=dict(channels=(48, 80, 96)), head=dict(in_channels=96))
