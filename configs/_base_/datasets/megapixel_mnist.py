data_root = 'data/mnist'
data_preprocessor = dict(mean=[0.], std=[255.], num_classes=10)

pipeline = [dict(type='PackInputs', algorithm_keys=('gt_bboxes', ))]

train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='MegapixelMNIST', data_root=data_root, split='train', pipeline=pipeline),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='MegapixelMNIST', data_root=data_root, split='val', pipeline=pipeline),
)
test_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='MegapixelMNIST', data_root=data_root, split='test', pipeline=pipeline),
)

val_evaluator = [dict(type='Accuracy', topk=(1, ))]
test_evaluator = val_evaluator
