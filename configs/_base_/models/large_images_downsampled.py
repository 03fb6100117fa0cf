# The coarse tower with the head, wide enough to cost what a DCN of 10 patches costs at 5000×5000.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='MegapixelMNISTCoarse', channels=(20, 42, 80)),
    head=dict(type='GlobalSumPoolHead', num_classes=10, in_channels=80),
    # Images of a batch keep their sizes.
    data_preprocessor=dict(type='UnpaddedDataPreprocessor', mean=[0.], std=[255.], num_classes=10),
)
