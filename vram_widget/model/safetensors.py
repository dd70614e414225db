"""Reads the header of a safetensors file, believing nothing it says.

A file begins with eight bytes, the length of a JSON header, little-endian; the header gives each
tensor's dtype, shape and place in the bytes that follow, which hold the tensors end to end
(https://huggingface.co/docs/safetensors, "Format").
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import prod
from typing import Any

from ..errors import ModelError
from .checkpoint import Tensor

#: Bytes before the header: its length.
PREFIX = 8

#: Bytes. The longest header read, as in huggingface_hub (SAFETENSORS_MAX_HEADER_LENGTH).
LONGEST = 25_000_000

#: Bits of an element, by dtype. A dtype that is not here is taken at its word.
BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E5M2FNUZ", "F8_E4M3FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}

#: Sizes beyond these are lies: no tensor has more dimensions, no dimension more elements.
_MOST_DIMENSIONS = 16
_LARGEST_DIMENSION = 1 << 48
_LONGEST_NAME = 1024


class BadHeader(ModelError):
    """A safetensors file whose header is broken, or lies."""

    def __init__(self, file: str, why: str) -> None:
        super().__init__(
            f"{file} is not a sound safetensors file: {why}; "
            "fetch it again, or take another copy of the model."
        )


def header_length(start: bytes, file: str, size: int | None = None) -> int:
    """Return the bytes of the header, from the first eight of the file.

    Parameters
    ----------
    start : bytes
        The beginning of the file.
    file : str
        Its name, for the error.
    size : int, optional
        Bytes of the whole file, where known.

    Raises
    ------
    BadHeader
        If there are not eight bytes, or the length cannot be true.
    """
    if len(start) < PREFIX:
        raise BadHeader(file, f"it has {len(start)} bytes")
    length = int.from_bytes(start[:PREFIX], "little")
    if length > LONGEST:
        raise BadHeader(file, f"it claims a header of {length:,} bytes")
    if size is not None and length > size - PREFIX:
        raise BadHeader(file, f"it claims a header of {length:,} bytes in a file of {size:,}")
    return length


def parse_header(header: bytes, file: str, size: int | None = None) -> dict[str, Tensor]:
    """Return the shape and dtype of every tensor that a header names.

    Parameters
    ----------
    header : bytes
        The JSON, without the length before it.
    file : str
        The file's name, for the error.
    size : int, optional
        Bytes of the whole file, where known: the tensors must lie inside.

    Raises
    ------
    BadHeader
        If it is not such JSON, names a tensor twice, or its shapes and places disagree.

    Examples
    --------
    >>> parse_header(b'{"w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}', "f")
    {'w': ((2, 3), 'BF16')}
    """
    entries = _entries(header, file)
    tensors: dict[str, Tensor] = {}
    places: list[tuple[int, int]] = []
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        if len(name) > _LONGEST_NAME:
            raise BadHeader(file, f"a tensor's name has {len(name):,} letters")
        tensors[name], place = _tensor(entry, name, file)
        places.append(place)
    end = 0
    for begins, ends in sorted(places):
        if begins != end:
            raise BadHeader(file, f"its tensors leave a gap or overlap at byte {begins:,}")
        end = ends
    if size is not None and end != size - PREFIX - len(header):
        raise BadHeader(file, f"its tensors end at byte {end:,}, the file does not")
    return tensors


def _entries(header: bytes, file: str) -> Mapping[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise BadHeader(file, "its header names something twice")
        return found

    try:
        entries = json.loads(header, object_pairs_hook=once)
    except BadHeader:
        raise
    except (ValueError, RecursionError):
        # Not UTF-8, not JSON, nested beyond Python's stack, or a number too long to read.
        raise BadHeader(file, "its header is not JSON") from None
    if not isinstance(entries, dict):
        raise BadHeader(file, "its header is not an object")
    return entries


def _tensor(entry: object, name: str, file: str) -> tuple[Tensor, tuple[int, int]]:
    """Return one tensor, and where its bytes begin and end."""
    if not isinstance(entry, dict):
        raise BadHeader(file, f"{name[:80]!r} has no description")
    dtype, shape, place = (entry.get(key, ()) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or not re.fullmatch(r"[A-Z][A-Z0-9_]{1,15}", dtype):
        raise BadHeader(file, f"{name[:80]!r} has no dtype")
    if not _sizes(shape, _MOST_DIMENSIONS) or not _sizes(place, 2) or len(place) != 2:
        raise BadHeader(file, f"{name[:80]!r} has an impossible shape or place")
    begins, ends = place
    bits = BITS.get(dtype)
    if begins > ends or (bits is not None and prod(shape) * bits != 8 * (ends - begins)):
        raise BadHeader(file, f"{name[:80]!r} does not fill its bytes")
    return (tuple(shape), dtype), (begins, ends)


def _sizes(value: object, most: int) -> bool:
    """Whether this is a short list of sizes: whole numbers from 0 up."""
    return (
        isinstance(value, list)
        and len(value) <= most
        and all(type(size) is int and 0 <= size <= _LARGEST_DIMENSION for size in value)
    )
