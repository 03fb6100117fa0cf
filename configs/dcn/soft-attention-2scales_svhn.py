_base_ = ['./soft-attention_svhn.py', '../_base_/tta/2_scales.py']
