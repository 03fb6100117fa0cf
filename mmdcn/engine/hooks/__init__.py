"""Hooks for a runner."""

from .compile_hook import CompileHook
from .dcn_visualization_hook import DCNVisualizationHook
from .resume_hook import ResumeHook
from .set_epoch_hook import SetEpochHook
from .sync_all_buffers_hook import SyncAllBuffersHook

__all__ = [
    'CompileHook',
    'DCNVisualizationHook',
    'ResumeHook',
    'SetEpochHook',
    'SyncAllBuffersHook',
]
