# Patches where the coarse model is surest.
_base_ = './dcn-k6_svhn.py'

model = dict(saliency=dict(type='InverseEntropy'))
work_dir = f'work_dirs/dcn-k6-inverse-entropy_{_base_.root_name}'
