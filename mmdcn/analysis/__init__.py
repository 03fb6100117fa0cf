"""Measures the cost of models."""

from .cost import (
    count_multiplications,
    counting,
    interleaved_runs,
    interleaved_times,
    is_adaptive,
    multiplications_by_part,
    peak_memory,
    with_full_budgets,
)

__all__ = [
    'count_multiplications',
    'counting',
    'interleaved_runs',
    'interleaved_times',
    'is_adaptive',
    'multiplications_by_part',
    'peak_memory',
    'with_full_budgets',
]
