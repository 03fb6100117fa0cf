_base_ = ['./dcn-k6_svhn.py', '../_base_/tta/2_scales.py']

model = dict(selector=dict(k=3))  # at each scale
