_base_ = ['./coarse_1xb128-10e_street-numbers.py', '../_base_/tta/3_scales.py']
