"""Heads that read a map."""

from .global_max_pool_head import GlobalMaxPoolHead
from .global_sum_pool_head import GlobalSumPoolHead
from .map_head import MapHead
from .sequence_head import SequenceHead

__all__ = ['GlobalMaxPoolHead', 'GlobalSumPoolHead', 'MapHead', 'SequenceHead']
