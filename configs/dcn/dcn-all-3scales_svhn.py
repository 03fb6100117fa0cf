_base_ = ['./dcn-k6_svhn.py', '../_base_/tta/3_scales.py']

model = dict(selector=dict(k=10**6))  # more than there are: all patches
