"""Reads a model from a local folder, or a mounted volume: config.json and safetensors headers."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from ..errors import ModelError
from .checkpoint import Checkpoint, Tensor
from .config_file import read_config
from .quantized import recognise
from .safetensors import LONGEST, PREFIX, header_length, parse_header
from .shards import INDEX, SINGLE, Index, parse_index, read_tensors

NO_SAFETENSORS = "It has no safetensors files; the shapes are those that config.json implies."


def read(path: str | Path) -> Checkpoint:
    """Return the model in a folder; of its weights only the safetensors headers are read.

    Parameters
    ----------
    path : str or Path
        A folder that holds a config.json, with or without safetensors files, single or sharded;
        or a config.json itself.

    Raises
    ------
    ModelError
        If a file is missing, broken, or a symbolic link out of the folder. The links of the
        Hugging Face cache, from a snapshot to its blobs, are followed.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        return Checkpoint(read_config(root), source=str(root))
    if (root / "config.json").exists():
        inside(root, "config.json")
    config = read_config(root)
    tensors, how, notices = _tensors(root)
    quantization, unknown = recognise(config, tensors)
    return Checkpoint(
        config=config,
        tensors=tensors,
        source=f"{root}{how}",
        quantization=quantization,
        notices=(*notices, *([unknown] if unknown else [])),
    )


def inside(root: Path, name: str) -> Path:
    """Return a file of the folder, if it really lies there.

    Raises
    ------
    ModelError
        If it is a symbolic link to somewhere else.
    """
    home, real = root.resolve(), (root / name).resolve()
    homes = [home]
    if home.parent.name == "snapshots":
        homes.append(home.parent.parent / "blobs")
    if not any(real.is_relative_to(allowed) for allowed in homes):
        raise ModelError(f"{root / name} is a link to {real}, outside the folder; copy it there.")
    return real


def _tensors(root: Path) -> tuple[dict[str, Tensor], str, tuple[str, ...]]:
    """Return the tensors, how they were read in words, and notices."""
    if (root / INDEX).exists():
        index = parse_index(_content(inside(root, INDEX), LONGEST), str(root / INDEX))
        here = {name: held for name, held in index.files.items() if (root / name).exists()}
        if len(here) == len(index.files):
            tensors, count = read_tensors(index, lambda files: _headers(root, files))
            return tensors, f" (headers of {count} of {len(here)} files)", ()
        tensors, _ = read_tensors(Index(here), lambda files: _headers(root, files))
        missing = len(index.files) - len(here)
        notice = f"{missing} of its {len(index.files)} files are not in the folder."
        return tensors, f" (headers of {len(here)} files)", (notice,)
    files = [SINGLE] if (root / SINGLE).exists() else _unlisted(root)
    if not files:
        return {}, "", (NO_SAFETENSORS,)
    return _headers(root, files), "", ()


def _unlisted(root: Path) -> list[str]:
    """Return the files of a checkpoint saved in parts, whose index is not there."""
    return sorted(path.name for path in root.glob("model-*.safetensors"))


def _headers(root: Path, files: list[str]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name in files:
        tensors |= _header(inside(root, name), str(root / name))
    return tensors


def _header(file: Path, name: str) -> Mapping[str, Tensor]:
    start = _content(file, None, PREFIX)
    size = file.stat().st_size
    length = header_length(start, name, size)
    header = _content(file, None, PREFIX + length)[PREFIX:]
    return parse_header(header, name, size)


def _content(file: Path, most: int | None, first: int = -1) -> bytes:
    """Return the bytes of a regular file, or the first of them; `most` is the size allowed."""
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ModelError(f"{file} is not a file; put the model's own file there.")
        if most is not None and found.st_size > most:
            raise ModelError(f"{file} has {found.st_size:,} bytes, too many for what it is.")
        with file.open("rb") as content:
            return content.read(first)
    except OSError as error:
        raise ModelError(
            f"{file} cannot be read ({error.strerror}); check who may read it."
        ) from None
