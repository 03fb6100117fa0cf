tta_model = dict(type='AverageSequenceTTA')
tta_pipeline = [
    dict(type='LoadGrayscale'),
    dict(type='TestTimeAug', transforms=[
        [dict(type='UpscaleToCover', size=(54, 110), scale=scale) for scale in (1., .75)],
        [dict(type='PackInputs', algorithm_keys=('gt_sequence', 'gt_bboxes'))],
    ]),
]
