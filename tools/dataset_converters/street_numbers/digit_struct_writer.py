"""Write the annotation file of SVHN's "full numbers" format without MATLAB."""

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import NamedTuple

import h5py
import numpy as np
from h5py import h5a, h5d, h5p, h5s, h5t

USERBLOCK = 512  # bytes before the HDF5 superblock: MATLAB's header
_TEXT = 116  # bytes of readable text in the header
_NO_SUBSYSTEM = bytes(8)
_VERSION = b'\x00\x02IM'  # version 2.0, little-endian
# MATLAB writes the current time here. A fixed time gives equal bytes for equal data.
_CREATED = 'Thu Jan 01 00:00:00 1970'
_NAME_DIGITS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ1234567890'
_REFERENCES = '#refs#'
_LETTERS = h5py.vlen_dtype(np.dtype('S1'))
_COMPACT_BYTES = 32768  # HDF5 keeps up to 64 KiB of data inside an object's header


class DigitBox(NamedTuple):
    """Box of a digit, in pixels from the image's top left, and its label.

    The fields have the names and order of the file. ``label`` is as in the file: 1 to 9 for these
    digits, and 10 for the digit 0.
    """

    height: float
    left: float
    top: float
    width: float
    label: float


def write_digit_struct(
    path: str | PathLike, names: Sequence[str], boxes: Sequence[Sequence[DigitBox]]
) -> None:
    """Write a ``digitStruct.mat`` (MATLAB v7.3, which is HDF5) that describes N images.

    The group ``digitStruct`` has the (N, 1) datasets ``name`` and ``bbox`` of references into
    ``#refs#``. A name is a column of uint16 character codes. A bbox is a group with one dataset per
    field of :class:`DigitBox`: (1, 1) float64 if the image has one digit, or (n, 1) references to
    (1, 1) float64 if it has n digits. Equal arguments give equal bytes.

    Args:
        path: The file to write. An existing file is replaced.
        names: File names of the N images, such as ``'1.png'``.
        boxes: The digits of each image, from left to right, at least one per image.

    Raises:
        ValueError: The two lists differ in length, or an image has no digit.
    """
    if len(names) != len(boxes):
        raise ValueError(
            f'write_digit_struct() needs the digits of each image, got '
            f'{len(names)} names and {len(boxes)} lists of digits.'
        )
    for name, digits in zip(names, boxes, strict=True):
        if not digits:
            raise ValueError(f'write_digit_struct() got no digit for {name}.')
    with h5py.File(path, 'w', userblock_size=USERBLOCK) as file:
        matlab = _MatlabWriter(file)
        columns = [
            [matlab.text(name) for name in names],
            [matlab.struct_array(digits) for digits in boxes],
        ]
        matlab.top_struct('digitStruct', ('name', 'bbox'), columns)
    _write_header(path)


def _write_header(path: str | PathLike) -> None:
    text = (
        f'MATLAB 7.3 MAT-file, Platform: mmdcn, Created on: {_CREATED} HDF5 schema 1.00 .'
    ).ljust(_TEXT)
    with open(path, 'r+b') as file:
        file.write(text.encode('ascii') + _NO_SUBSYSTEM + _VERSION)


class _MatlabWriter:
    """Writes MATLAB values as HDF5 objects.

    It uses h5py's low-level interface. The high-level interface takes about ten times as long for
    such small objects, and stores strings and datasets in other ways than MATLAB.
    """

    def __init__(self, file: h5py.File):
        self._file = file
        self._references = file.create_group(_REFERENCES)
        self._names = _reference_names()
        self._compact = h5p.create(h5p.DATASET_CREATE)
        self._compact.set_layout(h5d.COMPACT)
        self._contiguous = h5p.create(h5p.DATASET_CREATE)
        for layout in (self._compact, self._contiguous):
            layout.set_obj_track_times(False)  # so that equal data give equal bytes
        self._scalar = h5s.create(h5s.SCALAR)
        self._one = h5s.create_simple((1, 1))
        self._put_canonical_empty()

    def _put_canonical_empty(self) -> None:
        """Write MATLAB's first object, which an empty array would refer to."""
        name = next(self._names)
        empty = h5d.create(
            self._references.id, name, h5t.NATIVE_UINT64, h5s.create_simple((2,)), self._compact
        )
        empty.write(h5s.ALL, h5s.ALL, np.zeros(2, np.uint64))
        self._describe(empty, b'canonical empty')
        self._integer(empty, b'MATLAB_empty', np.uint8(1))

    def text(self, value: str) -> h5py.h5r.Reference:
        """Write a row of characters, which MATLAB stores as a column of UTF-16 codes."""
        name = next(self._names)
        codes = np.frombuffer(value.encode('utf-16-le'), '<u2')[:, None]
        dataset = h5d.create(
            self._references.id,
            name,
            h5t.NATIVE_UINT16,
            h5s.create_simple(codes.shape),
            self._compact,
        )
        dataset.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(codes))
        self._describe(dataset, b'char', name)
        self._integer(dataset, b'MATLAB_int_decode', np.int32(2))
        return self._reference(name)

    def struct_array(self, digits: Sequence[DigitBox]) -> h5py.h5r.Reference:
        """Write a 1×n struct array of boxes."""
        name = next(self._names)
        group = h5py.h5g.create(self._references.id, name)
        self._describe(group, b'struct', name)
        self._fields(group, DigitBox._fields)
        for field, values in zip(DigitBox._fields, zip(*digits, strict=True), strict=False):
            if len(values) == 1:
                value = self._double(group, field.encode(), values[0])
                self._describe(value, b'double', name + name)  # as in the real files
            else:
                self._column(
                    group, field.encode(), [self._referred_double(value) for value in values]
                )
        return self._reference(name)

    def top_struct(
        self, name: str, fields: Sequence[str], columns: Sequence[list[h5py.h5r.Reference]]
    ) -> None:
        """Write a variable of the workspace that holds a struct array."""
        group = self._file.create_group(name)
        self._describe(group.id, b'struct')
        self._fields(group.id, fields)
        for field, column in zip(fields, columns, strict=True):
            self._column(group.id, field.encode(), column)

    def _referred_double(self, value: float) -> h5py.h5r.Reference:
        name = next(self._names)
        self._describe(self._double(self._references.id, name, value), b'double', name)
        return self._reference(name)

    def _double(self, group: h5py.h5g.GroupID, name: bytes, value: float) -> h5d.DatasetID:
        dataset = h5d.create(group, name, h5t.NATIVE_DOUBLE, self._one, self._compact)
        dataset.write(h5s.ALL, h5s.ALL, np.full((1, 1), value, np.float64))
        return dataset

    def _column(
        self, group: h5py.h5g.GroupID, name: bytes, references: list[h5py.h5r.Reference]
    ) -> None:
        values = np.empty((len(references), 1), h5py.ref_dtype)
        values[:, 0] = references
        layout = self._compact if values.nbytes <= _COMPACT_BYTES else self._contiguous
        dataset = h5d.create(group, name, h5t.STD_REF_OBJ, h5s.create_simple(values.shape), layout)
        dataset.write(h5s.ALL, h5s.ALL, values)

    def _reference(self, name: bytes) -> h5py.h5r.Reference:
        return h5py.h5r.create(self._references.id, name, h5py.h5r.OBJECT)

    def _describe(self, target: h5py.h5g.GroupID, matlab_class: bytes, name: bytes = b'') -> None:
        if name:
            self._string(target, b'H5PATH', f'/{_REFERENCES}/'.encode() + name)
        self._string(target, b'MATLAB_class', matlab_class)

    def _string(self, target: h5py.h5g.GroupID, name: bytes, value: bytes) -> None:
        kind = h5t.C_S1.copy()
        kind.set_size(len(value))
        h5a.create(target, name, kind, self._scalar).write(np.array(value), mtype=kind)

    def _integer(self, target: h5py.h5g.GroupID, name: bytes, value: np.integer) -> None:
        kind = h5t.py_create(value.dtype)
        h5a.create(target, name, kind, self._scalar).write(np.array(value), mtype=kind)

    @staticmethod
    def _fields(target: h5py.h5g.GroupID, fields: Sequence[str]) -> None:
        names = np.empty(len(fields), _LETTERS)
        for index, field in enumerate(fields):
            names[index] = np.frombuffer(field.encode(), 'S1')
        h5py.Group(target).attrs.create('MATLAB_fields', names, dtype=_LETTERS)


def _reference_names() -> Iterator[bytes]:
    """Yield names for objects in ``#refs#``: a, b, ..., 0, ab, bb, ..., lowest digit first."""
    number = 0
    while True:
        name, rest = '', number
        while rest or not name:
            rest, digit = divmod(rest, len(_NAME_DIGITS))
            name += _NAME_DIGITS[digit]
        yield name.encode()
        number += 1
