# A ninth of the area with a ninth of the noise, for quick runs, which see new images each epoch.
_base_ = './megapixel_mnist.py'

train_dataloader = dict(dataset=dict(canvas_size=500, num_noise=6, regenerate=True))
val_dataloader = dict(dataset=dict(canvas_size=500, num_noise=6))
test_dataloader = dict(dataset=dict(canvas_size=500, num_noise=6))
