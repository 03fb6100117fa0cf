# The quick run: one cycle in four epochs.
_base_ = './dcn-k8-hint_1xb128-60e_cluttered-mnist.py'

train_cfg = dict(max_epochs=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.04, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-4, begin=1, end=4,
         convert_to_iter_based=True),
]
optim_wrapper = dict(optimizer=dict(lr=6e-3))  # better than 3e-3 on val in so short a run
