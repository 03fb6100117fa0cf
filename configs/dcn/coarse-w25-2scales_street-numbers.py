_base_ = ['./coarse-w25_1xb32-10e_street-numbers.py', '../_base_/tta/2_scales.py']
