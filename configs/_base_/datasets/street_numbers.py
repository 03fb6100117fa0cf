# The synthetic twin of SVHN, of the same layout.
_base_ = './svhn.py'

data_root = 'data/street-numbers'
train_dataloader = dict(dataset=dict(data_root=data_root, val_size=1000))
val_dataloader = dict(dataset=dict(data_root=data_root, val_size=1000))
test_dataloader = dict(dataset=dict(data_root=data_root))
