_base_ = './dcn-k8_1xb128-60e_cluttered-mnist.py'

model = dict(losses=dict(hint=dict(loss_weight=0.01)))
