_base_ = ['./soft-attention_street-numbers.py', '../_base_/tta/3_scales.py']
