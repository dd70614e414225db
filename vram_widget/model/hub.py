"""Reads a model from the Hugging Face Hub: config.json and safetensors headers, never weights.

Four requests do for a model of 30 files: its config.json, its index, and the beginning of the two
or three files that `shards.cover` chooses. Nothing from a repository is ever run.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from ..errors import ModelError, shown
from . import folder, hub_cache
from .checkpoint import Checkpoint, Tensor
from .config_file import LARGEST, parse
from .hub_errors import FileMissing, HubError, NoNetwork, NotALanguageModel
from .quantized import recognise
from .safetensors import LONGEST, PREFIX, header_length, parse_header
from .shards import INDEX, SINGLE, parse_index, read_tensors
from .transport import Repository

#: Called with files read, files in all, and the file just read.
Progress = Callable[[int, int, str], None]

#: Bytes fetched of a safetensors file at first: nearly all headers are shorter, as
#: huggingface_hub found over the Hub's thousand most used models.
BEGINNING = 100_000

#: Headers fetched side by side.
SIDE_BY_SIDE = 8

#: Seconds for which a branch's answer holds before the Hub is asked for its commit again.
FRESH = 24 * 3600.0

_ID = re.compile(r"(?:[\w.-]{1,96}/)?[\w.-]{1,96}", re.ASCII)
_REVISION = re.compile(r"[\w.-]+(?:/[\w.-]+)*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def read(
    model_path: str,
    revision: str | None = None,
    token: str | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    refresh: bool = False,
) -> Checkpoint:
    """Return a model on the Hub: its config.json, and the shape and dtype of every tensor.

    A model that was downloaded before is read from huggingface_hub's cache; one that was looked
    up before is remembered, for a day if it was asked for by branch. ``HF_ENDPOINT``,
    ``HF_HUB_OFFLINE``, ``HF_TOKEN`` and the other settings of huggingface_hub hold.

    Parameters
    ----------
    model_path : str
        ``organisation/name``, with ``@revision`` if wanted, or the address of its page.
    revision : str, optional
        A branch, tag or commit; the main branch if not given.
    token : str, optional
        None takes the one huggingface_hub finds.
    progress : callable, optional
        Called with files read, files in all, and the file just read.
    cancelled : callable, optional
        Called often; returning True cancels.
    refresh : bool
        Asks the Hub even for what is remembered.

    Raises
    ------
    HubError
        One of its kinds, by what a person can do about it.
    ModelError
        If what the Hub gave is broken.
    """
    repo_id, revision = identify(model_path, revision)
    downloaded = _downloaded(repo_id, revision)
    remembered = hub_cache.load(repo_id, revision)
    if not refresh:
        if downloaded is not None and _complete(downloaded):
            return _from_cache(downloaded, repo_id)
        if remembered is not None and _fresh(remembered, revision):
            return remembered.checkpoint
    if _offline():
        return _without_network(repo_id, downloaded, remembered)
    try:
        found = _look_up(Repository(repo_id, revision, token, cancelled), progress)
    except NoNetwork:
        if remembered is None:
            raise
        as_of = time.strftime("%d %B %Y", time.localtime(remembered.looked_up))
        notice = f"The Hub cannot be reached; this is as of {as_of}."
        return _noted(remembered.checkpoint, notice)
    hub_cache.store(repo_id, revision, found)
    return found


def identify(model_path: str, revision: str | None = None) -> tuple[str, str]:
    """Return a Hub id and a revision from what a person wrote.

    Raises
    ------
    ModelError
        If it can be no Hub id.

    Examples
    --------
    >>> identify("https://huggingface.co/Qwen/Qwen3-8B/tree/main")
    ('Qwen/Qwen3-8B', 'main')
    >>> identify("Qwen/Qwen3-8B@v1.0")
    ('Qwen/Qwen3-8B', 'v1.0')
    """
    name = re.sub(r"^(?:https?://[^/]+/|hf://)(?:models/)?", "", model_path.strip()).strip("/")
    name, _, page = name.partition("/tree/")
    name, _, after = name.partition("@")
    wanted = revision or after or page or "main"
    path = model_path.startswith(("/", "~", "."))
    if path or not _ID.fullmatch(name) or ".." in name or "--" in name:
        raise ModelError(
            f"{model_path[:100]!r} is neither a folder nor a model's id; "
            "give one such as 'Qwen/Qwen3-8B'."
        )
    if not _REVISION.fullmatch(wanted) or ".." in wanted:
        raise ModelError(f"{wanted!r} can be no revision; give a branch, tag or commit.")
    return name, wanted


def _look_up(repository: Repository, progress: Progress | None) -> Checkpoint:
    """Ask the Hub; from config.json on everything is read at one commit."""
    count = _Count(progress)
    try:
        answer = repository.fetch("config.json", LARGEST)
    except FileMissing:
        raise _no_config(repository) from None
    count.about("config.json")
    name = f"config.json of {repository.repo_id}"
    config = parse(answer.content.decode("utf-8", "replace"), name)
    tensors, how, notices = _tensors(repository.at(answer.commit or repository.revision), count)
    quantization, unknown = recognise(config, tensors)
    commit = answer.commit if answer.commit and _COMMIT.fullmatch(answer.commit) else None
    return Checkpoint(
        config=config,
        tensors=tensors,
        source=f"Hugging Face Hub, {repository.repo_id}{_at(commit)}{how}",
        quantization=quantization,
        commit=commit,
        notices=(*notices, *([unknown] if unknown else [])),
    )


def _tensors(
    repository: Repository, count: _Count
) -> tuple[dict[str, Tensor], str, tuple[str, ...]]:
    """Return the tensors, how they were read in words, and notices."""
    try:
        content = repository.fetch(INDEX, LONGEST).content
    except FileMissing:
        count.expect(1)
        try:
            return _header(repository, SINGLE, count), "", ()
        except FileMissing:
            return {}, "", (folder.NO_SAFETENSORS,)
    count.about(INDEX)
    index = parse_index(content, f"{INDEX} of {repository.repo_id}")

    def headers(files: list[str]) -> dict[str, Tensor]:
        count.expect(len(files))
        found: dict[str, Tensor] = {}
        pool = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="hub")
        try:
            for tensors in pool.map(lambda file: _header(repository, file, count), files):
                found |= tensors
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return found

    tensors, read_files = read_tensors(index, headers)
    return tensors, f" (headers of {read_files} of {len(index.files)} files)", ()


def _header(repository: Repository, file: str, count: _Count) -> dict[str, Tensor]:
    """Return the tensors of one file, by one ranged request, or two for a long header."""
    name = f"{file} of {repository.repo_id}"
    answer = repository.fetch(file, BEGINNING, 0, BEGINNING)
    length = header_length(answer.content, name, answer.size)
    header = answer.content[PREFIX : PREFIX + length]
    if len(header) < length:
        start, rest = PREFIX + len(header), length - len(header)
        header += repository.fetch(file, LONGEST, start, rest).content
    tensors = parse_header(header, name, answer.size)
    count.about(file)
    return tensors


def _no_config(repository: Repository) -> HubError:
    """Say what a repository without config.json holds in its place."""
    page = f"{repository.endpoint}/{repository.repo_id}"
    try:
        answer = repository.fetch("adapter_config.json", LARGEST)
    except FileMissing:
        return NotALanguageModel(
            f"{repository.repo_id} has no config.json, so it is no language model in "
            f"transformers' form; see what it holds at {page}."
        )
    adapter = parse(answer.content.decode("utf-8", "replace"), "adapter_config.json")
    base = adapter.get("base_model_name_or_path")
    return NotALanguageModel(
        f"{repository.repo_id} is an adapter; give its base model, {shown(base)}."
    )


class _Count:
    """Counts the files of a look-up and passes the count on, one file after the other."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._done, self._all = 0, 3

    def expect(self, more: int) -> None:
        """So many files are still to come."""
        self._all = self._done + more

    def about(self, file: str) -> None:
        """Count one file more as read."""
        self._done += 1
        self._all = max(self._all, self._done)
        if self._progress is not None:
            self._progress(self._done, self._all, file)


# -- what was read before ----------------------------------------------------------------------


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _downloaded(repo_id: str, revision: str) -> Path | None:
    """Return the snapshot of the model in huggingface_hub's cache, if its config.json is there."""
    from huggingface_hub import constants

    base = Path(constants.HF_HUB_CACHE) / f"models--{repo_id.replace('/', '--')}"
    commit, reference = revision, base / "refs" / revision
    if not _COMMIT.fullmatch(revision):
        if not reference.is_file():
            return None
        commit = reference.read_text("utf-8", "replace").strip()
    if not _COMMIT.fullmatch(commit):
        return None
    snapshot = base / "snapshots" / commit
    return snapshot if (snapshot / "config.json").is_file() else None


def _complete(snapshot: Path) -> bool:
    """Whether a snapshot holds its safetensors files, and not config.json alone."""
    if not (snapshot / INDEX).is_file():
        return (snapshot / SINGLE).is_file()
    try:
        index = parse_index((snapshot / INDEX).read_bytes(), INDEX)
    except ModelError:
        return False  # a broken download; the Hub has a sound one
    return all((snapshot / file).is_file() for file in index.files)


def _from_cache(snapshot: Path, repo_id: str) -> Checkpoint:
    found = folder.read(snapshot)
    source = f"Hugging Face cache, {repo_id}{_at(snapshot.name)}"
    return replace(found, source=source, commit=snapshot.name)


def _fresh(remembered: hub_cache.Cached, revision: str) -> bool:
    return bool(_COMMIT.fullmatch(revision)) or time.time() - remembered.looked_up < FRESH


def _without_network(
    repo_id: str, downloaded: Path | None, remembered: hub_cache.Cached | None
) -> Checkpoint:
    if remembered is not None:
        return remembered.checkpoint
    if downloaded is not None:
        return _from_cache(downloaded, repo_id)
    raise NoNetwork(
        f"HF_HUB_OFFLINE is set and {repo_id} is not in the cache; unset it, or give a local "
        "folder or a model of the catalogue."
    )


def _noted(checkpoint: Checkpoint, notice: str) -> Checkpoint:
    return replace(checkpoint, notices=(*checkpoint.notices, notice))


def _at(commit: str | None) -> str:
    return f" at {commit[:8]}" if commit else ""
