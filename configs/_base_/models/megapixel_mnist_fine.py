# The fine tower over the whole image.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='MegapixelMNISTFine'),
    head=dict(type='GlobalSumPoolHead', num_classes=10, in_channels=64),
)
