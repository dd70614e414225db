"""The tensors that stand for a model's weights, as they are stored."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from ..tape import Allocation, DType, Event, rounded

Shape = tuple[int, ...]


class Parameter(NamedTuple):
    """A tensor that holds a weight or a part of it: `rows` x `width` elements of `dtype`.

    `stack` says how many matrices it holds one above the other, as the experts of a layer are. What
    is not `sharded` is no parameter of its module: each GPU has all of it, however weights are
    sharded.
    """

    name: str
    rows: int
    width: int
    dtype: DType
    trainable: bool
    stack: int = 1
    sharded: bool = True

    @property
    def size(self) -> int:
        """Elements."""
        return self.rows * self.width

    @property
    def nbytes(self) -> int:
        """Bytes, as the allocator hands them out."""
        return rounded(-(-self.size * self.dtype.itemsize // self.dtype.packed))

    def flat_shard(self, gpus: int) -> Parameter:
        """Return what one of `gpus` holds of it where its elements are counted out."""
        return self if gpus == 1 else self._replace(rows=1, width=-(-self.size // gpus))

    def chunk(self, gpus: int) -> Parameter:
        """Return what one of `gpus` holds of it where it is cut along its first dimension.

        All chunks are as large as the first, which is the largest.
        """
        if self.stack > 1:
            return self._replace(rows=-(-self.stack // gpus) * (self.rows // self.stack))
        if self.rows > 1:
            return self._replace(rows=-(-self.rows // gpus))
        return self._replace(width=-(-self.width // gpus))


def made(component: str, what: str, parameter: Parameter, copies: int = 1) -> Event:
    """Return the event of allocating a tensor like a parameter, once in each of some layers."""
    allocation = Allocation(
        component,
        parameter.name,
        what,
        parameter.rows,
        parameter.width,
        parameter.dtype,
        parameter.nbytes,
    )
    allocation.copies = copies
    return allocation.nbytes, allocation


def dropped(event: Event) -> Event:
    """Return the release of what an event allocated."""
    nbytes, allocation = event
    return -nbytes, allocation


def as_matrix(shape: Shape) -> tuple[int, int]:
    """Return a weight's shape as rows and width."""
    return (prod(shape[:-1]), shape[-1]) if shape else (1, 1)


def stacked(shape: Shape) -> int:
    """Return how many matrices a weight of this shape holds."""
    return shape[0] if len(shape) > 2 else 1
