_base_ = [
    '../_base_/models/cluttered_mnist_fine.py',
    '../_base_/datasets/cluttered_mnist.py',
    '../_base_/schedules/cluttered_mnist_60e.py',
    '../_base_/default_runtime.py',
]
