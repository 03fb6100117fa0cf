# Patches where the coarse model is surest.
_base_ = './dcn-k6-w25_street-numbers.py'

model = dict(saliency=dict(type='InverseEntropy'))
