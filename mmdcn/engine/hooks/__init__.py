from .set_epoch_hook import SetEpochHook
from .sync_all_buffers_hook import SyncAllBuffersHook

__all__ = ['SetEpochHook', 'SyncAllBuffersHook']
