from .dcn_visualization_hook import DCNVisualizationHook
from .set_epoch_hook import SetEpochHook

__all__ = ['DCNVisualizationHook', 'SetEpochHook']
