# As many patches as hold an eighth of the saliency, up to 16.
_base_ = './dcn-k8-hint_1xb128-60e_cluttered-mnist.py'

model = dict(selector=dict(type='MassSelector', k=16, share=0.124))
