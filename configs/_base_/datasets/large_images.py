# Files of tools/dataset_converters/make_large_images.py, or of your own in the same folders.
# LARGE_IMAGES_ROOT in the environment names another place.
data_root = '{{$LARGE_IMAGES_ROOT:data/large-images}}'
data_preprocessor = dict(mean=[0.], std=[255.], num_classes=10)

pipeline = [dict(type='mmdcn.LoadOverview', scale=1 / 32), dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=16,
    num_workers=1,  # reads overviews only; patches are read by the process that trains
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset', data_root=data_root, data_prefix='train', pipeline=pipeline),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root=data_root, data_prefix='val', pipeline=pipeline),
)
test_dataloader = dict(
    batch_size=16,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root=data_root, data_prefix='test', pipeline=pipeline),
)

val_evaluator = [dict(type='Accuracy', topk=(1, ))]
test_evaluator = val_evaluator
