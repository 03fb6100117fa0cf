_base_ = './dcn-k8-hint_1xb128-60e_cluttered-mnist.py'

model = dict(selector=dict(k=24))
