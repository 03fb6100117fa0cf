_base_ = ['./dcn-k6-w25_street-numbers.py', '../_base_/tta/2_scales.py']

model = dict(selector=dict(k=3))  # at each scale
