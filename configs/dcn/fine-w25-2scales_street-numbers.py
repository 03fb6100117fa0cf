_base_ = ['./fine-w25_1xb32-5e_street-numbers.py', '../_base_/tta/2_scales.py']
