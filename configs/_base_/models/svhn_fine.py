# The paper's fine model: a number at every window of a patch's size, averaged (eq. 11). Of the
# tower's map a window of 54×110 pixels has 6×13 cells.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='SVHNFine', width=1.),
    head=dict(type='SequenceHead', in_channels=1024, window=(6, 13), pooling='average'),
)
