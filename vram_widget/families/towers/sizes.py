"""Reads the dimensions of a tower."""

from __future__ import annotations

from ..fields import LARGEST_DIMENSION, whole, wrong
from ..parts.weights import Config

#: Vision and audio towers have fewer than a hundred.
MOST_LAYERS = 1_000


def size(own: Config, name: str, default: int) -> int:
    """Return a dimension of a tower; what is left out has transformers' default."""
    value = own.get(name, default)
    most = MOST_LAYERS if name in ("depth", "num_hidden_layers") else LARGEST_DIMENSION
    if not whole(value, 1, most):
        raise wrong(name, value, f"a whole number between 1 and {most:,}")
    return value
