# Trained with 24 patches; tested with the more patches the less sure the coarse prediction is. This
# prediction has a loss of its own, and weights are averaged. The thresholds give images of val 4
# patches on average; tools/analysis_tools/budget_curve.py finds those for another average.
_base_ = './dcn-k8-hint_1xb128-60e_cluttered-mnist.py'

model = dict(
    selector=dict(
        type='EntropySelector', k=24, threshold=0.0167, full_threshold=0.835,
        adapts_in_training=False),
    losses=dict(
        hint=dict(loss_weight=0.1), coarse=dict(type='CoarseLoss', loss_weight=0.3)),
)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='EMAHook', momentum=0.002, update_buffers=True),
]
