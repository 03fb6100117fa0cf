from .cost import count_multiplications, interleaved_times

__all__ = ['count_multiplications', 'interleaved_times']
