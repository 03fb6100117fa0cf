# The paper's DCN: two towers trained apart meet at test time (§4.2.2). Where their checkpoints
# are is said by the config that builds on this.
model = dict(
    type='DCNClassifier',
    coarse=dict(type='SVHNCoarse', width=1.),
    saliency=dict(
        type='EntropyGradient',
        head=dict(type='SequenceHead', in_channels=1024, pooling='average')),
    selector=dict(type='TopKSelector', k=6),
    grid=dict(type='PatchGrid', size=(54, 110), stride=(8, 16)),
    fine=dict(type='SVHNFine', width=1.),
    neck=dict(type='FineOnlyRefine'),
    head=dict(
        type='SequenceHead', in_channels=1024, window=(6, 13), pooling='inverse_entropy'),
)
