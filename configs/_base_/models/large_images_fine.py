# The fine tower of the DCN with a head of the same kind, for pictures of single digits.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='MegapixelMNISTFine', enlarged=4),
    head=dict(type='GlobalSumPoolHead', num_classes=10, in_channels=64),
)
