_base_ = ['./dcn-k6-inverse-entropy_street-numbers.py', '../_base_/tta/2_scales.py']

model = dict(selector=dict(k=3))  # at each scale
