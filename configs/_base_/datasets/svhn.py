# Trained on tight crops, tested uncropped (§4.2, appendix 6.2).
# SVHN_ROOT=data/street-numbers in the environment takes the synthetic twin, which has fewer images.
data_root = '{{$SVHN_ROOT:data/svhn}}'
root_name = data_root.rstrip('/').split('/')[-1]  # ends the names of work_dirs
val_size = 1000 if root_name == 'street-numbers' else 5000
data_preprocessor = dict(mean=[127.5], std=[127.5])

train_pipeline = [
    dict(type='LoadGrayscale'),
    dict(type='Resize', scale=(128, 64)),  # width, height
    dict(type='RandomCrop', crop_size=(54, 110)),  # height, width
    dict(type='PackInputs', algorithm_keys=('gt_sequence', )),
]
val_pipeline = [
    dict(type='LoadGrayscale'),
    dict(type='Resize', scale=(128, 64)),
    dict(type='CenterCrop', crop_size=(110, 54)),  # width, height
    dict(type='PackInputs', algorithm_keys=('gt_sequence', )),
]
test_pipeline = [
    dict(type='LoadGrayscale'),
    dict(type='UpscaleToCover', size=(54, 110)),
    dict(type='PackInputs', algorithm_keys=('gt_sequence', 'gt_bboxes')),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='SVHNFull', data_root=data_root, split=['train', 'extra'], part='train',
        val_size=val_size, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='SVHNFull', data_root=data_root, split=['train', 'extra'], part='val',
        val_size=val_size, pipeline=val_pipeline),
)
test_dataloader = dict(
    batch_size=1,  # images of unlike sizes
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='SVHNFull', data_root=data_root, split='test', test_mode=True,
        pipeline=test_pipeline),
)

val_evaluator = [dict(type='SequenceAccuracy')]
test_evaluator = val_evaluator

# With --tta: three scales, their distributions averaged (§4.2.3).
tta_model = dict(type='AverageSequenceTTA')
tta_pipeline = [
    dict(type='LoadGrayscale'),
    dict(type='TestTimeAug', transforms=[
        [dict(type='UpscaleToCover', size=(54, 110), scale=scale) for scale in (1., .75, .5)],
        [dict(type='PackInputs', algorithm_keys=('gt_sequence', 'gt_bboxes'))],
    ]),
]
