_base_ = ['./coarse_1xb128-10e_svhn.py', '../_base_/tta/2_scales.py']
