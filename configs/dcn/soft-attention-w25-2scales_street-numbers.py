_base_ = ['./soft-attention-w25_street-numbers.py', '../_base_/tta/2_scales.py']
