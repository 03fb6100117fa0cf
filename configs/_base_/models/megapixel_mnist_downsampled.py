# The coarse tower with the head, wide enough to cost what a DCN of 10 patches costs.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='MegapixelMNISTCoarse', channels=(16, 36, 72)),
    head=dict(type='GlobalSumPoolHead', num_classes=10, in_channels=72),
)
