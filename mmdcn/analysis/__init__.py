from .cost import count_multiplications, interleaved_times, multiplications_by_part

__all__ = ['count_multiplications', 'interleaved_times', 'multiplications_by_part']
