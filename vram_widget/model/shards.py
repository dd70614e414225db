"""Which files of a sharded checkpoint to read, so that a few tell the shapes in all of them.

Layers repeat. Two tensors whose names differ only in numbers (of the layer, of the expert) have
nearly always one shape, so the headers of the few files that hold one tensor of each name are
enough to imply the rest. The index states the bytes of all tensors; where the implied shapes add
up to exactly that, nothing was missed. Where they do not, the remaining files are read too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod

from ..errors import ModelError
from .checkpoint import Tensor
from .safetensors import BITS

#: The file that says which file holds which tensor, and the only file where there is one.
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"

#: Reads the headers of some files: every tensor in them.
ReadHeaders = Callable[[list[str]], dict[str, Tensor]]

#: Files. The largest public checkpoints have under 200.
_MOST_FILES = 1024

#: Files to choose one by one before taking all of them.
_MOST_CHOSEN = 12

_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,250}\.safetensors")


@dataclass(frozen=True)
class Index:
    """A ``model.safetensors.index.json``.

    Attributes
    ----------
    files : mapping of str to list of str
        Each file, and the tensors it holds.
    total_size : int or None
        Bytes of all tensors, where the index says it.
    """

    files: Mapping[str, list[str]]
    total_size: int | None = None


def parse_index(content: bytes, name: str) -> Index:
    """Return the index that a JSON file holds; `name` says whose it is.

    Raises
    ------
    ModelError
        If it maps no tensors to files, or names a file outside the model's folder.
    """
    try:
        index = json.loads(content)
    except (ValueError, RecursionError):
        raise ModelError(f"{name} is not JSON; fetch it again.") from None
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{name} maps no tensors to files; fetch it again.")
    files: dict[str, list[str]] = {}
    for tensor, file in weight_map.items():
        if not isinstance(file, str) or not _FILE.fullmatch(file):
            raise ModelError(f"{name} names {str(file)[:80]!r}, which is no file of the model.")
        files.setdefault(file, []).append(tensor)
    if len(files) > _MOST_FILES:
        raise ModelError(f"{name} names {len(files):,} files; give a language model's checkpoint.")
    metadata = index.get("metadata")
    total = metadata.get("total_size", 0) if isinstance(metadata, dict) else 0
    known = isinstance(total, (int, float)) and 0 < total < 1e18
    return Index(files, int(total) if known else None)


def read_tensors(index: Index, read: ReadHeaders) -> tuple[dict[str, Tensor], int]:
    """Return every tensor's shape and dtype, and how many files were read for it.

    Parameters
    ----------
    index : Index
    read : callable
        Given file names, returns the tensors of their headers.
    """
    chosen = cover(index.files)
    tensors = imply(index.files, read(chosen))
    if index.total_size is not None and stored_bytes(tensors.values()) == index.total_size:
        return tensors, len(chosen)
    rest = [file for file in index.files if file not in chosen]
    return {**tensors, **read(rest)}, len(chosen) + len(rest)


def pattern(name: str) -> str:
    """Return a tensor's name with its numbers left open.

    Examples
    --------
    >>> pattern("model.layers.17.mlp.experts.3.w1.weight")
    'model.layers.*.mlp.experts.*.w1.weight'
    """
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def cover(files: Mapping[str, Iterable[str]]) -> list[str]:
    """Return few files that hold one tensor of each name; at each step the one that adds most.

    Examples
    --------
    >>> cover({"1": ["embed", "layer.0"], "2": ["layer.1", "layer.2"], "3": ["layer.3", "head"]})
    ['1', '3']
    """
    holds = {file: {pattern(name) for name in names} for file, names in files.items()}
    missing = set().union(*holds.values())
    chosen: list[str] = []
    while missing:
        if len(chosen) == _MOST_CHOSEN:
            return list(files)
        best = max(holds, key=lambda file: len(holds[file] & missing))
        chosen.append(best)
        missing -= holds.pop(best)
    return chosen


def imply(files: Mapping[str, Iterable[str]], read: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return all tensors of all files: those read, the others like one of the same name."""
    like = {pattern(name): tensor for name, tensor in read.items()}
    names = (name for tensors in files.values() for name in tensors)
    return {name: tensor for name in names if (tensor := read.get(name) or like.get(pattern(name)))}


def stored_bytes(tensors: Iterable[Tensor]) -> int:
    """Return the bytes that tensors of these shapes and dtypes fill."""
    return sum(prod(shape) * BITS.get(dtype, 0) for shape, dtype in tensors) // 8
