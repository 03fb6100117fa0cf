# Single digits among fragments of others, in pictures made on demand. They are as large as a patch
# of the large images, and their digits as large as there.
data_root = 'data/mnist'
data_preprocessor = dict(mean=[0.], std=[255.], num_classes=10)

# 64×64 times 4: each pixel is repeated, as make_large_images.py repeats it.
pipeline = [
    dict(type='Resize', scale=(256, 256), interpolation='nearest'),
    dict(type='PackInputs'),
]
small = dict(
    type='ClutteredMNIST',
    data_root=data_root,
    canvas_size=64,
    num_distractors=4,
    pipeline=pipeline,
)

train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**small, split='train', regenerate=True),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**small, split='val'),
)
test_dataloader = dict(
    batch_size=64,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**small, split='test'),
)

val_evaluator = [dict(type='Accuracy', topk=(1, ))]
test_evaluator = val_evaluator
