# The coarse model with eqs. 12-14 in place of eq. 11; it takes the coarse model's checkpoint.
_base_ = './coarse_1xb128-10e_svhn.py'

model = dict(head=dict(pooling='inverse_entropy'))
work_dir = f'work_dirs/soft-attention_{_base_.root_name}'
