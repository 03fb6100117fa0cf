# The paper's fine model: a number at every cell, averaged (eq. 11).
model = dict(
    type='ImageClassifier',
    backbone=dict(type='SVHNFine', width=1.),
    head=dict(type='SequenceHead', in_channels=1024, pooling='average'),
)
