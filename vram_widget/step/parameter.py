"""The tensors that stand for a model's weights, as they are stored."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from ..model.architecture import Shape
from .tape import DType, rounded


class Parameter(NamedTuple):
    """A tensor that holds a weight or a part of it: `rows` x `width` elements of `dtype`."""

    name: str
    rows: int
    width: int
    dtype: DType
    trainable: bool

    @property
    def size(self) -> int:
        """Elements."""
        return self.rows * self.width

    def nbytes(self, divided: int = 1) -> int:
        """Return the bytes of one GPU's share, as the allocator hands them out."""
        elements = -(-self.size // divided)
        return rounded(-(-elements * self.dtype.itemsize // self.dtype.packed))


def as_matrix(shape: Shape) -> tuple[int, int]:
    """Return a weight's shape as rows and width."""
    return (prod(shape[:-1]), shape[-1]) if shape else (1, 1)
