"""A synthetic twin of the uncropped Street View House Numbers: the same format, new pictures."""

from .digit_struct_writer import DigitBox, write_digit_struct
from .scene import SUBSETS, StreetNumber, make_street_number, number_length

__all__ = [
    'SUBSETS',
    'DigitBox',
    'StreetNumber',
    'make_street_number',
    'number_length',
    'write_digit_struct',
]
