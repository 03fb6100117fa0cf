from .global_max_pool_head import GlobalMaxPoolHead
from .sequence_head import SequenceHead

__all__ = ['GlobalMaxPoolHead', 'SequenceHead']
