# The coarse model with eqs. 12-14 in place of eq. 11; it takes the coarse model's checkpoint.
_base_ = './coarse-w25_1xb32-10e_street-numbers.py'

model = dict(head=dict(pooling='inverse_entropy'))
