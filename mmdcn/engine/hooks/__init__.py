from .set_epoch_hook import SetEpochHook

__all__ = ['SetEpochHook']
