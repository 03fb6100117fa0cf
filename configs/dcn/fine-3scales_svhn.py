_base_ = ['./fine_1xb128-10e_svhn.py', '../_base_/tta/3_scales.py']
