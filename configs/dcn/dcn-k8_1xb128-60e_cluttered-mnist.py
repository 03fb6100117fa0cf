_base_ = [
    '../_base_/models/cluttered_mnist_dcn.py',
    '../_base_/datasets/cluttered_mnist.py',
    '../_base_/schedules/cluttered_mnist_60e.py',
    '../_base_/default_runtime.py',
]

val_evaluator = [dict(type='Accuracy', topk=(1, )), dict(type='PatchHit')]
test_evaluator = val_evaluator
