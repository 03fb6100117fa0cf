from .cost import (
    count_multiplications,
    interleaved_times,
    multiplications_by_part,
    peak_memory,
)

__all__ = ['count_multiplications', 'interleaved_times', 'multiplications_by_part', 'peak_memory']
