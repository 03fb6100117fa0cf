"""Writes files laid out as SVHN's digitStruct.mat, with h5py's plain interface."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

FIELDS = ('label', 'left', 'top', 'width', 'height')
Digit = tuple[float, ...]  # a number a field; digit 0 has label 10

HEADER = b'MATLAB 7.3 MAT-file, Platform: GLNXA64, written by a test HDF5 schema 1.00 .'


def write_digit_struct(path: Path, numbers: dict[str, Sequence[Digit]]) -> Path:
    """Write ``numbers``, name of an image -> its digits."""
    with h5py.File(path, 'w', userblock_size=512, libver='earliest') as file:
        refs = file.create_group('#refs#')

        def stored(value):
            dataset = refs.create_dataset(f'v{len(refs)}', data=value)
            dataset.attrs['MATLAB_class'] = np.bytes_('double')
            return dataset.ref

        def column(references):
            return np.array(references, h5py.ref_dtype)[:, None]

        names, boxes = [], []
        for name, digits in numbers.items():
            names.append(stored(np.array([[ord(letter)] for letter in name], np.uint16)))
            box = refs.create_group(f'b{len(refs)}')
            for place, field in enumerate(FIELDS):
                values = [np.array([[digit[place]]], np.float64) for digit in digits]
                if len(values) == 1:
                    box.create_dataset(field, data=values[0])
                else:
                    box.create_dataset(
                        field,
                        data=column([stored(value) for value in values]),
                        dtype=h5py.ref_dtype,
                    )
            boxes.append(box.ref)
        struct = file.create_group('digitStruct')
        struct.attrs['MATLAB_class'] = np.bytes_('struct')
        struct.create_dataset('name', data=column(names), dtype=h5py.ref_dtype)
        struct.create_dataset('bbox', data=column(boxes), dtype=h5py.ref_dtype)
    with open(path, 'r+b') as file:
        file.write(HEADER.ljust(124) + b'\x00\x02IM')
    return path


def number(
    digits: str, left: float = 10, top: float = 5, width: float = 8, height: float = 20
) -> Sequence[Digit]:
    """The digits of a house number, side by side."""
    return [
        (int(digit) or 10, left + place * width, top, width, height)
        for place, digit in enumerate(digits)
    ]


def write_split(folder: Path, numbers: dict[str, Sequence[Digit]], shape=(40, 60)) -> Path:
    """Write a split's ``digitStruct.mat`` and images of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    write_digit_struct(folder / 'digitStruct.mat', numbers)
    rng = np.random.default_rng(0)
    for name in numbers:
        Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(folder / name)
    return folder
