# The paper's fine model, g(f_f(x)).
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ClutteredMNISTFine'),
    head=dict(type='GlobalMaxPoolHead', num_classes=10, in_channels=24),
)
