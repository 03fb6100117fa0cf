_base_ = [
    '../_base_/models/large_images_downsampled.py',
    '../_base_/datasets/large_images.py',
    '../_base_/schedules/large_images_8e.py',
    '../_base_/default_runtime.py',
]
