# Megapixel MNIST's towers, for digits four times as large. The files come without boxes.
model = dict(
    type='DCNClassifier',
    coarse_scale=1 / 32,
    coarse=dict(type='MegapixelMNISTCoarse'),
    saliency=dict(type='EntropyGradient'),
    selector=dict(type='TopKSelector', k=10),
    # Centred on the cells, which are 128 pixels apart: one patch or another holds a digit whole.
    grid=dict(type='PatchGrid', size=256),
    fine=dict(type='MegapixelMNISTFine', enlarged=4),
    neck=dict(type='SwapRefine'),
    head=dict(type='GlobalSumPoolHead', num_classes=10, in_channels=64),
    losses=dict(hint=dict(type='HintLoss', loss_weight=0.02)),
    data_preprocessor=dict(type='LateNormalization', mean=[0.], std=[255.], num_classes=10),
)
