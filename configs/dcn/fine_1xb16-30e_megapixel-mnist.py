_base_ = [
    '../_base_/models/megapixel_mnist_fine.py',
    '../_base_/datasets/megapixel_mnist.py',
    '../_base_/schedules/megapixel_mnist_30e.py',
    '../_base_/default_runtime.py',
]
