# The paper's DCN, g(f_r(x)), without hints.
model = dict(
    type='DCNClassifier',
    coarse=dict(type='ClutteredMNISTCoarse'),
    saliency=dict(type='EntropyGradient'),
    selector=dict(type='TopKSelector', k=8),
    # A cell sees 11 pixels at stride 4; its patch begins one pixel before and ends two after.
    grid=dict(type='PatchGrid', size=14, stride=4, offset=-1),
    fine=dict(type='ClutteredMNISTFine'),
    neck=dict(type='SwapRefine'),
    head=dict(type='GlobalMaxPoolHead', num_classes=10, in_channels=24),
    losses=dict(
        hint=dict(type='HintLoss', loss_weight=0.), patch_hit=dict(type='PatchHitRate')),
)
