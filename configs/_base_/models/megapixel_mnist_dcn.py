# Coarse at an eighth of the resolution, where a digit is 3.5 pixels high.
model = dict(
    type='DCNClassifier',
    coarse_scale=0.125,
    coarse=dict(type='MegapixelMNISTCoarse'),
    saliency=dict(type='EntropyGradient'),
    selector=dict(type='TopKSelector', k=10),
    # Centred on the cells, which are 32 pixels apart: one patch or another holds a digit whole.
    grid=dict(type='PatchGrid', size=64),
    fine=dict(type='MegapixelMNISTFine'),
    neck=dict(type='SwapRefine'),
    head=dict(type='GlobalSumPoolHead', num_classes=10, in_channels=64),
    losses=dict(
        hint=dict(type='HintLoss', loss_weight=0.01), patch_hit=dict(type='PatchHitRate')),
    data_preprocessor=dict(type='LateNormalization', mean=[0.], std=[255.], num_classes=10),
)
