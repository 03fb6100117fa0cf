"""Reads the boxes and labels of SVHN from digitStruct.mat."""

import os
import os.path as osp
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5f, h5g, h5o, h5r, h5s, h5t
from mmengine.logging import print_log
from rich.console import Console
from rich.progress import track

INDEX_SUFFIX = '.index.npz'
_LAYOUT = 1  # version of the index file; increase it when its content changes

_FIELDS = (b'label', b'left', b'top', b'width', b'height')
_MAX_DIGITS = 1000  # per image; a larger length is a broken file
_MAX_NAME = 255  # characters, the limit of file systems
_MAX_PIXEL = 1e6
_CACHE_BYTES = 2**18
_REMEDY = 'extract it again from the train, test or extra.tar.gz of the full numbers'


class DigitStructError(ValueError):
    """Raised if a ``digitStruct.mat`` is cut, corrupt or another file; the message says which."""


@dataclass(frozen=True)
class DigitStruct:
    """The content of a ``digitStruct.mat``: N images with D digits in all, as flat arrays.

    The digits of image ``i`` are ``labels[offsets[i]:offsets[i + 1]]``, in stored order, which
    is the reading order.

    Attributes:
        names: (N,) bytes; file names without a folder, ASCII.
        offsets: (N + 1,) int64.
        labels: (D,) uint8, 0 to 9; the file's label 10 is digit 0.
        boxes: (D, 4) float32; left, top, width, height in pixels as stored. They may stick out
            of the image or be empty.
    """

    names: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def check(self) -> None:
        """Raise ``DigitStructError`` if the arrays do not match or a value is out of bounds."""
        images, digits = len(self.names), len(self.labels)
        wanted = dict(
            names=((images,), 'S'),
            offsets=((images + 1,), 'i'),
            labels=((digits,), 'u'),
            boxes=((digits, 4), 'f'),
        )
        for key, (shape, kind) in wanted.items():
            value = getattr(self, key)
            if value.shape != shape or value.dtype.kind != kind:
                raise DigitStructError(f'{key} are {value.dtype} of shape {value.shape}')
        counts = np.diff(self.offsets)
        if self.offsets[0] != 0 or self.offsets[-1] != digits or (counts < 1).any():
            raise DigitStructError('an image has no digits')
        if (self.labels > 9).any():
            raise DigitStructError('a label is not a digit')
        if not (np.abs(self.boxes) < _MAX_PIXEL).all():
            raise DigitStructError('a box lies outside of any image')
        if len(np.unique(self.names)) != images:
            raise DigitStructError('an image is listed twice')


def load_digit_struct(path: str) -> DigitStruct:
    """Read a ``digitStruct.mat``, or its index if there is one from an earlier call.

    The index lies beside the file as ``digitStruct.mat.index.npz``. It is made again if the file's
    size or modification time has changed, or if the index is broken or has an older layout. If the
    folder is not writable, no index is kept.

    Args:
        path: The file, in the MATLAB v7.3 format.

    Raises:
        FileNotFoundError: There is no such file.
        DigitStructError: The file is cut or corrupt, has another MATLAB format or belongs to
            another dataset.
    """
    path = osp.expanduser(path)
    if not osp.isfile(path):
        raise FileNotFoundError(
            f'The SVHN file {path} is missing; run `python '
            'tools/dataset_converters/prepare_svhn.py --out DATA_ROOT` (make_street_numbers.py for '
            'the synthetic twin) and set data_root to DATA_ROOT.'
        )
    stamp = _stamp(path)
    index = _read_index(path, stamp)
    if index is None:
        index = read_digit_struct(path)
        _write_index(path, stamp, index)
    return index


def read_digit_struct(path: str) -> DigitStruct:
    """Parse a ``digitStruct.mat`` with a progress bar, without an index.

    Raises:
        DigitStructError: As for :func:`load_digit_struct`.
    """
    with open(path, 'rb') as file:
        header = file.read(19)
    if header == b'MATLAB 5.0 MAT-file':
        raise DigitStructError(
            f'{path} is of the MATLAB v5 format, such as the cropped digits (train_32x32.mat), '
            f'but the full numbers are of v7.3; {_REMEDY}.'
        )
    try:
        return _parse(path)
    # h5py raises nearly any type of error on broken bytes.
    except Exception as error:
        what = (
            str(error).strip()
            if isinstance(error, DigitStructError)
            else (f'{type(error).__name__}: {" ".join(str(error).split())}')
        )
        raise DigitStructError(
            f'{path} is cut or corrupt, or not the digitStruct.mat of SVHN ({what}); {_REMEDY}.'
        ) from error


def _parse(path: str) -> DigitStruct:
    # No lock is needed for reading, and some network file systems have none.
    with h5py.File(path, 'r', locking=False) as file:
        _shrink_cache(file)
        if not isinstance(file.get('digitStruct'), h5py.Group):
            raise DigitStructError('it holds no struct digitStruct')
        struct = file['digitStruct']
        limit = osp.getsize(path) // 8  # each reference takes 8 bytes
        name_refs = _references(_member(struct.id, b'name'), 'name', limit)
        bbox_refs = _references(_member(struct.id, b'bbox'), 'bbox', limit)
        if len(name_refs) != len(bbox_refs):
            raise DigitStructError(f'it has {len(name_refs)} names but {len(bbox_refs)} bboxes')

        names, counts = [], array('q')
        columns = [array('d') for _ in _FIELDS]
        pairs = track(
            zip(name_refs, bbox_refs, strict=True),
            total=len(name_refs),
            description=f'Indexing {osp.basename(osp.dirname(osp.abspath(path)))}',
            console=Console(stderr=True),
            transient=True,
        )
        for name_ref, bbox_ref in pairs:
            name = _name(_follow(name_ref, file.id, h5d.DatasetID))
            names.append(name)
            counts.append(
                _append_digits(_follow(bbox_ref, file.id, h5g.GroupID), file.id, columns, name)
            )

    label, left, top, width, height = (np.frombuffer(column) for column in columns)
    wrong = ~np.isin(label, np.arange(1, 11))
    if wrong.any():
        raise DigitStructError(f'it has the label {label[wrong][0]:g}, but labels are 1 to 10')
    boxes = np.stack([left, top, width, height], axis=1)
    if not (np.abs(boxes) < _MAX_PIXEL).all():  # also catches NaN
        raise DigitStructError('it has a box outside of any image')
    struct = DigitStruct(
        names=np.array(names, 'S'),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        labels=(label % 10).astype(np.uint8),
        boxes=boxes.astype(np.float32),
    )
    struct.check()
    return struct


def _shrink_cache(file: h5py.File) -> None:
    """Shrink the cache: each object is read once, but libhdf5 would keep 600 MB of them."""
    config = file.id.get_mdc_config()
    config.set_initial_size = True
    config.initial_size = config.min_size = config.max_size = _CACHE_BYTES
    file.id.set_mdc_config(config)


# The following uses h5py's low-level interface: each image has a dozen objects, and the high-level
# interface takes 2.5 times as long.
def _member(group: h5g.GroupID, key: bytes) -> h5d.DatasetID:
    if key not in group:
        raise DigitStructError(f'{key.decode()} is missing')
    member = h5o.open(group, key)
    if not isinstance(member, h5d.DatasetID):
        raise DigitStructError(f'{key.decode()} is not an array')
    return member


def _follow(reference: h5r.Reference, file: h5f.FileID, kind: type) -> Any:
    target = h5r.dereference(reference, file) if reference else None
    if not isinstance(target, kind):
        raise DigitStructError('a reference leads nowhere or to another kind of thing')
    return target


def _column_length(dataset: h5d.DatasetID, key: str, limit: int) -> int:
    """Return the n of an (n, 1) array, and check it before memory is allocated."""
    shape = dataset.shape
    if len(shape) != 2 or shape[1] != 1 or not 1 <= shape[0] <= limit:
        raise DigitStructError(f'{key} has the shape {shape}')
    return shape[0]


def _references(dataset: h5d.DatasetID, key: str, limit: int) -> np.ndarray:
    """Read an (n, 1) array of object references as (n,) objects."""
    length = _column_length(dataset, key, limit)
    if not dataset.get_type().equal(h5t.STD_REF_OBJ):
        raise DigitStructError(f'{key} holds no references')
    references = np.empty((length, 1), h5py.ref_dtype)
    dataset.read(h5s.ALL, h5s.ALL, references)
    return references[:, 0]


def _name(dataset: h5d.DatasetID) -> bytes:
    """Read a MATLAB char array in UTF-16 and check that it is a plain file name."""
    length = _column_length(dataset, 'name', _MAX_NAME)
    if dataset.get_type().get_class() != h5t.INTEGER:
        raise DigitStructError('a name is not text')
    letters = np.empty((length, 1), np.uint16)
    dataset.read(h5s.ALL, h5s.ALL, letters, h5t.NATIVE_UINT16)
    name = ''.join(map(chr, letters[:, 0]))
    if not (name.isascii() and name.isprintable()) or set(name) & set('/\\:') or name[0] == '.':
        raise DigitStructError(f'{name!r} is not the name of an image')
    return name.encode()


def _append_digits(
    bbox: h5g.GroupID, file: h5f.FileID, columns: Sequence[array], name: bytes
) -> int:
    """Append an image's digits, one column per field, and return the number of digits."""
    lengths = set()
    for key, column in zip(_FIELDS, columns, strict=True):
        field = _member(bbox, key)
        length = _column_length(field, f'{key.decode()} of {name.decode()}', _MAX_DIGITS)
        lengths.add(length)
        if field.get_type().get_class() == h5t.FLOAT:
            if length != 1:
                raise DigitStructError(
                    f'{key.decode()} of {name.decode()} has {length} numbers in place of references'
                )
            column.append(_number(field))
        else:
            for reference in _references(field, key.decode(), _MAX_DIGITS):
                column.append(_number(_follow(reference, file, h5d.DatasetID)))
    if len(lengths) != 1:
        raise DigitStructError(f'the fields of {name.decode()} differ in length')
    return length


def _number(dataset: h5d.DatasetID) -> float:
    _column_length(dataset, 'a number', 1)
    if dataset.get_type().get_class() != h5t.FLOAT:
        raise DigitStructError('a number is not floating point')
    value = np.empty((1, 1))
    dataset.read(h5s.ALL, h5s.ALL, value, h5t.NATIVE_DOUBLE)
    return value[0, 0]


def _stamp(path: str) -> np.ndarray:
    status = os.stat(path)
    return np.array([_LAYOUT, status.st_size, status.st_mtime_ns])


def _read_index(path: str, stamp: np.ndarray) -> 'DigitStruct | None':
    """Return the index of ``path``, or None if it is missing, outdated or broken."""
    try:
        with np.load(path + INDEX_SUFFIX, allow_pickle=False) as index:
            if not np.array_equal(index['stamp'], stamp):
                return None
            struct = DigitStruct(**{key: index[key] for key in DigitStruct.__annotations__})
            struct.check()
            return struct
    # A broken archive raises nearly any type of error. In each case the file is parsed again.
    except Exception:
        return None


def _write_index(path: str, stamp: np.ndarray, struct: DigitStruct) -> None:
    target = path + INDEX_SUFFIX
    partial_file = f'{target}.{os.getpid()}.part'
    try:
        try:
            with open(partial_file, 'wb') as file:
                np.savez(file, stamp=stamp, **vars(struct))
            os.replace(partial_file, target)
        finally:
            if osp.exists(partial_file):
                os.unlink(partial_file)
    except OSError as error:
        print_log(
            f'The index of {path} could not be kept ({error}), so it will be made again next time.',
            logger='current',
        )
