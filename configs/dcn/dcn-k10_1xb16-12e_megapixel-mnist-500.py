_base_ = [
    '../_base_/models/megapixel_mnist_dcn.py',
    '../_base_/datasets/megapixel_mnist_500.py',
    '../_base_/schedules/megapixel_mnist_12e.py',
    '../_base_/default_runtime.py',
]

val_evaluator = [dict(type='Accuracy', topk=(1, )), dict(type='PatchHit')]
test_evaluator = val_evaluator
