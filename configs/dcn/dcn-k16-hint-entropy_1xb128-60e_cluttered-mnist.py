# Up to 16 patches where the coarse prediction is uncertain, none where it is sure.
_base_ = './dcn-k8-hint_1xb128-60e_cluttered-mnist.py'

model = dict(selector=dict(type='EntropySelector', k=16, threshold=0.051, full_threshold=2.55))
