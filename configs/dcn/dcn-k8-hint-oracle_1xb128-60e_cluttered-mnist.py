# Looks where the true box is, at test time as well: an upper bound, not a model to use.
_base_ = './dcn-k8-hint_1xb128-60e_cluttered-mnist.py'

model = dict(saliency=dict(type='OracleCells'))
