# The paper's coarse model, g(f_c(x)).
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ClutteredMNISTCoarse'),
    head=dict(type='GlobalMaxPoolHead', num_classes=10, in_channels=24),
)
