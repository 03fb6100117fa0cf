from .global_max_pool_head import GlobalMaxPoolHead

__all__ = ['GlobalMaxPoolHead']
