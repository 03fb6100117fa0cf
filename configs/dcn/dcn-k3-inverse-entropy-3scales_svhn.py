_base_ = ['./dcn-k6-inverse-entropy_svhn.py', '../_base_/tta/3_scales.py']

model = dict(selector=dict(k=3))  # at each scale
