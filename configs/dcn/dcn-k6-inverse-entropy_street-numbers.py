# Patches where the coarse model is surest.
_base_ = './dcn-k6_street-numbers.py'

model = dict(saliency=dict(type='InverseEntropy'))
