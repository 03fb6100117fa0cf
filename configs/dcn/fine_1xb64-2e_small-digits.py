_base_ = [
    '../_base_/models/large_images_fine.py',
    '../_base_/datasets/small_digits.py',
    '../_base_/schedules/small_digits_2e.py',
    '../_base_/default_runtime.py',
]

work_dir = 'work_dirs/fine_1xb64-2e_small-digits'  # where the DCN of small pictures looks
