# SGD with momentum and exponential decay (appendix 6.2); the rates are not the paper's, which
# names none.
train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=1)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=1, convert_to_iter_based=True),
    dict(type='ExponentialLR', gamma=0.6, begin=1, end=10),
]
auto_scale_lr = dict(base_batch_size=128)
