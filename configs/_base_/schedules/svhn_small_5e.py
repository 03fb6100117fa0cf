# For the small towers: Adam learns a quarter of the filters where SGD does not, and one cycle
# of small batches takes the fewest images.
train_cfg = dict(by_epoch=True, max_epochs=5, val_interval=1)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(optimizer=dict(type='Adam', lr=3e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.04, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-4, begin=1, end=5,
         convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=32)
