"""Batches whose images differ in size."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F

# Operators of two operands, one of which may be a tensor with a value for each image.
_ELEMENTWISE = {'add', 'sub', 'mul', 'div', 'true_divide', 'maximum', 'minimum', 'where'}


class UnlikeSizes(ValueError):
    """What is computed of a :class:`Ragged` cannot be computed of images that differ in size."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f'{what} cannot be computed of images that differ in size within a batch: resize them '
            'to one size in the pipeline, set batch_size=1, or compute it for each of '
            'mmdcn.structures.parts_of(...).'
        )


class Ragged:
    """N images, or what is computed of them, of several sizes: a batch without padding.

    Neighbours of one size share a tensor, a *part*. So the order is that of the batch.

    A network that is made of torch's operators can be run on it as on a tensor: each operator runs
    on each part, and a batch norm that is in training normalises all parts by their common
    statistics. Parts that come to have one size become a tensor again. What joins images, or
    computes with their sizes, raises :class:`UnlikeSizes`.

    Args:
        parts: What belongs to the images of each part, such as tensors (n, ...).
        counts: The number of images n of each part.
    """

    def __init__(self, parts: Sequence[Any], counts: Sequence[int]) -> None:
        self.parts = tuple(parts)
        self.counts = tuple(counts)

    def __len__(self) -> int:
        """Return N."""
        return sum(self.counts)

    def __iter__(self) -> Iterator[Any]:
        """Yield what belongs to each image, without the batch dimension."""
        for part in self.parts:
            yield from part

    def __repr__(self) -> str:
        return f'{type(self).__name__}({[tuple(part.shape) for part in self.parts]})'

    @classmethod
    def __torch_function__(
        cls, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run an operator on each part, and a batch norm in training on all parts together."""
        kwargs = kwargs or {}
        ragged = next(_ragged_in((*args, *kwargs.values())))
        if function is F.batch_norm and kwargs.get('training', args[5:6] == (True,)):
            return _batch_norm(ragged, *args[1:], **kwargs)
        return ragged._by_part(function, args, kwargs)

    def _by_part(self, function: Callable, args: tuple, kwargs: dict) -> Any:
        name = getattr(function, '__name__', str(function))
        factors = name.strip('_') in _ELEMENTWISE

        def of(part: int, value: Any) -> Any:
            if isinstance(value, Ragged):
                return value.parts[part]
            if isinstance(value, (list, tuple)) and any(True for _ in _ragged_in(value)):
                return type(value)(of(part, each) for each in value)
            if factors and self._for_each_image(value):
                return value.split(self.counts)[part]
            return value

        found = [
            function(
                *(of(part, arg) for arg in args),
                **{key: of(part, arg) for key, arg in kwargs.items()},
            )
            for part in range(len(self.parts))
        ]
        return _joined(found, self.counts, name)

    def _for_each_image(self, value: Any) -> bool:
        """Return whether a tensor (N, ...) of as many dimensions has a value for each image."""
        same = isinstance(value, torch.Tensor) and value.dim() == self.parts[0].dim()
        return same and value.size(0) == len(self)

    def size(self, dim: int | None = None) -> Any:
        """Return N for the first dimension; the length of another one, which parts must share.

        Raises:
            UnlikeSizes: The parts differ in it, or all sizes are asked for.
        """
        if dim == 0:
            return len(self)
        asked = () if dim is None else (dim,)
        return _joined([part.size(*asked) for part in self.parts], self.counts, 'The size')

    def numel(self) -> int:
        """Return the number of elements of all parts."""
        return sum(part.numel() for part in self.parts)

    def __getattr__(self, name: str) -> Any:
        """Return a method or property of tensors for all parts."""
        attribute = getattr(torch.Tensor, name)  # AttributeError of what tensors do not have
        if callable(attribute):
            return lambda *args, **kwargs: self._by_part(attribute, (self, *args), kwargs)
        return _joined([getattr(part, name) for part in self.parts], self.counts, name)

    def __add__(self, other: Any) -> Any:
        return self._by_part(torch.add, (self, other), {})

    def __mul__(self, other: Any) -> Any:
        return self._by_part(torch.mul, (self, other), {})

    def __sub__(self, other: Any) -> Any:
        return self._by_part(torch.sub, (self, other), {})

    def __rsub__(self, other: Any) -> Any:
        return self._by_part(torch.sub, (other, self), {})

    def __truediv__(self, other: Any) -> Any:
        return self._by_part(torch.div, (self, other), {})

    def __neg__(self) -> Any:
        return self._by_part(torch.neg, (self,), {})

    def __eq__(self, other: object) -> Any:
        return self._by_part(torch.eq, (self, other), {})

    __radd__, __rmul__ = __add__, __mul__
    __hash__ = object.__hash__


def _ragged_in(values: Sequence[Any]) -> Iterator[Ragged]:
    for value in values:
        if isinstance(value, Ragged):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _ragged_in(value)


def _joined(found: list, counts: Sequence[int], name: str) -> Any:
    first = found[0]
    if isinstance(first, torch.Tensor):
        for part, count in zip(found, counts, strict=True):
            if part.dim() == 0 or part.size(0) != count:  # it joins the images of a part
                raise UnlikeSizes(name)
        return join(found)
    if isinstance(first, (list, tuple)) and any(isinstance(value, torch.Tensor) for value in first):
        return tuple(_joined(list(values), counts, name) for values in zip(*found, strict=True))
    if any(value != first for value in found):
        raise UnlikeSizes(name)
    return first


def _batch_norm(images: Ragged, *args: Any, **kwargs: Any) -> Any:
    """Normalise all parts by their common statistics, as if their places were in one row."""
    rows = [part.transpose(0, 1).flatten(1) for part in images.parts]  # (D, n · places)
    normed = F.batch_norm(torch.cat(rows, dim=1).unsqueeze(0), *args, **kwargs).squeeze(0)
    parts, start = [], 0
    for row, part in zip(rows, images.parts, strict=True):
        # No views of one tensor, which an activation in place would have to change.
        mine = normed.narrow(1, start, row.size(1)).clone()
        parts.append(mine.unflatten(1, (part.size(0), *part.shape[2:])).transpose(0, 1))
        start += row.size(1)
    return Ragged(parts, images.counts)


def join(parts: Sequence[torch.Tensor]) -> Any:
    """Return one tensor of tensors (n, ...) if they are of one size, else a :class:`Ragged`."""
    if len(parts) == 1:
        return parts[0]
    if len({part.shape[1:] for part in parts}) == 1:
        return torch.cat(list(parts))
    return Ragged(parts, [part.size(0) for part in parts])


def stack(images: Sequence[torch.Tensor]) -> Any:
    """Return images (C, H, W) as a tensor (N, C, H, W), or as :class:`Ragged` if sizes differ.

    A single image is not copied.
    """
    runs: list[list[torch.Tensor]] = []
    for image in images:
        if runs and runs[-1][0].shape == image.shape:
            runs[-1].append(image)
        else:
            runs.append([image])
    return join([run[0].unsqueeze(0) if len(run) == 1 else torch.stack(run) for run in runs])


def parts_of(batch: Any) -> tuple[Any, ...]:
    """Return the parts of a :class:`Ragged`, or anything else as the only part."""
    return batch.parts if isinstance(batch, Ragged) else (batch,)
