_base_ = [
    '../_base_/models/megapixel_mnist_downsampled.py',
    '../_base_/datasets/megapixel_mnist.py',
    '../_base_/schedules/megapixel_mnist_30e.py',
    '../_base_/default_runtime.py',
]

pipeline = [
    dict(type='Resize', scale=(188, 188), interpolation='area'),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(dataset=dict(pipeline=pipeline))
