# Fresh clutter and warped digits, which is not the paper's protocol.
_base_ = './dcn-k8-hint_1xb128-60e_cluttered-mnist.py'

train_dataloader = dict(dataset=dict(regenerate=True, affine=0.15, elastic=0.5))
optim_wrapper = dict(optimizer=dict(lr=6e-3))  # chosen on val together with the warps
