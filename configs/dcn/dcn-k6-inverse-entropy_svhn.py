# Patches where the coarse model is surest.
_base_ = './dcn-k6_svhn.py'

model = dict(saliency=dict(type='InverseEntropy'))
