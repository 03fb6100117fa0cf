from .global_max_pool_head import GlobalMaxPoolHead
from .global_sum_pool_head import GlobalSumPoolHead
from .sequence_head import SequenceHead

__all__ = ['GlobalMaxPoolHead', 'GlobalSumPoolHead', 'SequenceHead']
