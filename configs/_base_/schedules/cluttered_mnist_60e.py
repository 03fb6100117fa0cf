# One cycle: up in a quarter of the time, down along a cosine. Both are relative to the
# optimizer's lr, so --auto-scale-lr scales the whole cycle.
train_cfg = dict(by_epoch=True, max_epochs=60, val_interval=1)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(optimizer=dict(type='Adam', lr=3e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.04, begin=0, end=15, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-4, begin=15, end=60,
         convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=128)
