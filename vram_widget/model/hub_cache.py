"""Keeps what was read from the Hub: in memory, and in huggingface_hub's assets cache.

The layout is that of ``huggingface_hub.cached_assets_path``: library, namespace (the model),
subfolder (the Hub it came from). There, a file a commit, and a small file a branch that names its
commit. Where the cache cannot be written, as in a home that is read-only, memory alone serves.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from urllib.parse import quote, urlsplit

from ..step.methods.parameter import Shape
from .checkpoint import Checkpoint, Tensor

#: Written into each file; another number is not read.
VERSION = 1

#: Models remembered in memory.
_REMEMBERED = 32

_memory: OrderedDict[tuple[str, str, str], Cached] = OrderedDict()
_lock = Lock()


@dataclass(frozen=True)
class Cached:
    """A checkpoint, and when it was last looked up on the Hub, in seconds since 1970."""

    checkpoint: Checkpoint
    looked_up: float


def load(repo_id: str, revision: str) -> Cached | None:
    """Return what was stored of a model, or None."""
    key = _key(repo_id, revision)
    with _lock:
        if key in _memory:
            _memory.move_to_end(key)
            return _memory[key]
    cached = _load(repo_id, revision)
    if cached is not None:
        _remember(key, cached)
    return cached


def store(repo_id: str, revision: str, checkpoint: Checkpoint) -> None:
    """Keep a model that was just read."""
    _remember(_key(repo_id, revision), Cached(checkpoint, time.time()))
    commit = checkpoint.commit
    if commit is None:
        return
    entry = {
        "version": VERSION,
        "config": checkpoint.config,
        "tensors": _by_kind(checkpoint.tensors),
        "source": checkpoint.source,
        "quantization": checkpoint.quantization,
        "notices": checkpoint.notices,
    }
    folder = _folder(repo_id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / f"{commit}.json", json.dumps(entry))
        _write(folder / _reference(revision), commit)
    except OSError:
        return  # not ours to write: this process remembers, the next one asks again


def _load(repo_id: str, revision: str) -> Cached | None:
    folder = _folder(repo_id)
    reference = folder / _reference(revision)
    try:
        commit = reference.read_text("utf-8")
        entry = json.loads((folder / f"{commit}.json").read_text("utf-8"))
        if entry["version"] != VERSION:
            return None
        checkpoint = Checkpoint(
            config=entry["config"],
            tensors=_by_name(entry["tensors"]),
            source=entry["source"],
            quantization=entry["quantization"],
            commit=commit,
            notices=tuple(entry["notices"]),
        )
        return Cached(checkpoint, reference.stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or cut short by another process: as if never stored


def _by_kind(tensors: Mapping[str, Tensor]) -> list[tuple[Shape, str, list[str]]]:
    """Return the names of tensors by shape and dtype: the 90,000 of a large mixture in 35 ms."""
    kinds: dict[Tensor, list[str]] = defaultdict(list)
    for name, tensor in tensors.items():
        kinds[tensor].append(name)
    return [(shape, dtype, names) for (shape, dtype), names in kinds.items()]


def _by_name(kinds: list[tuple[list[int], str, list[str]]]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for shape, dtype, names in kinds:
        tensors.update(dict.fromkeys(names, (tuple(shape), dtype)))
    return tensors


def _remember(key: tuple[str, str, str], cached: Cached) -> None:
    with _lock:
        _memory[key] = cached
        _memory.move_to_end(key)
        while len(_memory) > _REMEMBERED:
            _memory.popitem(last=False)


def _key(repo_id: str, revision: str) -> tuple[str, str, str]:
    from huggingface_hub import constants

    return constants.ENDPOINT, repo_id, revision


def _folder(repo_id: str) -> Path:
    from huggingface_hub import constants

    host = urlsplit(constants.ENDPOINT).netloc.replace(":", "-") or "hub"
    namespace = repo_id.replace("/", "--")
    return Path(constants.HF_ASSETS_CACHE) / "vram_widget" / namespace / host


def _reference(revision: str) -> str:
    return f"{quote(revision, safe='')}.ref"


def _write(file: Path, text: str) -> None:
    """Write a file atomically: another process may be reading it."""
    handle, draft = tempfile.mkstemp(dir=file.parent, prefix=file.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        os.replace(draft, file)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise
