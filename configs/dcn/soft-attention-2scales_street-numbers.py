_base_ = ['./soft-attention_street-numbers.py', '../_base_/tta/2_scales.py']
