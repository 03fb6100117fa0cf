_base_ = './dcn-k10_1xb16-30e_megapixel-mnist.py'

model = dict(selector=dict(k=5))
