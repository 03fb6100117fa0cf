# The paper's coarse model: a number at every cell, averaged (eq. 11).
model = dict(
    type='ImageClassifier',
    backbone=dict(type='SVHNCoarse', width=1.),
    head=dict(type='SequenceHead', in_channels=1024, pooling='average'),
)
