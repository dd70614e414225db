"""What is trained: from a model's name or folder to every weight's name and shape."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..families import from_config
from ..step.architecture import Architecture
from . import catalog
from .config_file import locate
from .hub_errors import GatedModel, HubInTrouble, NoNetwork, RateLimited

if TYPE_CHECKING:
    from .checkpoint import Checkpoint

__all__ = ["Architecture", "from_config", "known", "load"]

Progress = Callable[[int, int, str], None]

#: What was found on the Hub, for as long as this process runs.
_found: dict[str, Architecture] = {}
#: Models that the Hub did not give, what stands in for them, and when to ask again.
_stand_ins: dict[str, tuple[Architecture, float]] = {}
#: Seconds until the Hub is asked again for a model that something stands in for.
_ASK_AGAIN = 300.0


def load(
    model_path: str,
    *,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Architecture:
    """Return the architecture of a model.

    A local path is read where it lies, a model of the catalogue needs no network, any other id
    is looked up on the Hub; where that cannot be, what the id by its name is a copy or a
    fine-tune of stands in for it, and a notice says so.

    Parameters
    ----------
    model_path : str
        A folder that holds a config.json, a config.json itself, or a model's id, with
        ``@revision`` if wanted.
    progress : callable, optional
        Called with files read, files in all, and the file just read.
    cancelled : callable, optional
        Called often during a look-up; returning True cancels it.

    Raises
    ------
    ModelError
        If the model is not found, or its description cannot be read or understood.

    Examples
    --------
    >>> load("meta-llama/Llama-3.1-8B").num_parameters
    8030261248
    """
    path = _existing(model_path)
    if path is not None:
        return _from_path(path, _modified(path))
    name = model_path.strip()
    if catalog.lookup(name) is not None:
        return _from_catalog(name)
    return _from_hub(name, progress, cancelled)


def known(model_path: str) -> bool:
    """Return whether a model can be loaded without asking the Hub.

    Examples
    --------
    >>> known("meta-llama/Llama-3.1-8B"), known("someone/something-new")
    (True, False)
    """
    name = model_path.strip()
    return (
        not name
        or _existing(name) is not None
        or name in _found
        or _stand_in(name) is not None
        or catalog.lookup(name) is not None
        or name.count("/") > 1
    )


def _stand_in(name: str) -> Architecture | None:
    """Return what stands in for a model until the Hub is asked for it again."""
    stand_in, until = _stand_ins.get(name, (None, 0.0))
    return stand_in if time.monotonic() < until else None


def _from_hub(
    name: str, progress: Progress | None, cancelled: Callable[[], bool] | None
) -> Architecture:
    if name in _found:
        return _found[name]
    stand_in = _stand_in(name)
    if stand_in is not None:
        return stand_in
    from . import hub

    if "://" in name:
        repo_id, _ = hub.identify(name)
        raise ModelError(f"Give the model's id, {repo_id!r}, in place of an address.")
    if name.startswith(("/", "./", "../", "~", "\\")) or (name.count("/") > 1 and "@" not in name):
        raise ModelError(_not_found(name))
    try:
        checkpoint = hub.read(name, progress=progress, cancelled=cancelled)
    except (NoNetwork, GatedModel, RateLimited, HubInTrouble) as refusal:
        kin = catalog.kin(name.partition("@")[0])
        if kin is None:
            raise type(refusal)(f"{refusal}{_nearest(name)}") from None
        notice = f"By its name it has the dimensions of {kin}. {refusal}"
        architecture = _from_catalog(kin)
        architecture = replace(architecture, notices=(*architecture.notices, notice))
        _stand_ins[name] = architecture, time.monotonic() + _ASK_AGAIN
        return architecture
    _found[name] = _from_checkpoint(checkpoint)
    return _found[name]


def _from_checkpoint(checkpoint: Checkpoint) -> Architecture:
    from .reconcile import reconcile

    found = reconcile(from_config(checkpoint.config), checkpoint)
    return replace(found, source=checkpoint.source, quantization=checkpoint.quantization)


def _existing(model_path: str) -> Path | None:
    """Return the folder or file that this names, if there is one."""
    if not model_path.strip():
        raise ModelError("No model is named; give a folder, or a model's id such as Qwen/Qwen3-8B.")
    try:
        name = os.path.expanduser(model_path.strip())
        os.stat(name)
    except PermissionError:
        raise ModelError(f"{model_path} cannot be read; check who may read it.") from None
    except (OSError, ValueError):
        # There is none; or it is too long, or of characters that no file's name has.
        return None
    return Path(name).absolute()


def _modified(path: Path) -> int:
    file = locate(path)
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0  # read_config says what is wrong with it


@lru_cache(maxsize=64)
def _from_path(path: Path, modified: int) -> Architecture:
    from . import folder

    return _from_checkpoint(folder.read(path))


@lru_cache(maxsize=256)
def _from_catalog(name: str) -> Architecture:
    config = catalog.lookup(name)
    if config is None:
        raise ModelError(_not_found(name))
    return replace(from_config(config), source="the catalogue")


def _not_found(name: str) -> str:
    shown = name if len(name) <= 100 else f"{name[:100]}..."
    if name.startswith(("/", "./", "../", "~")) or "\\" in name:
        return f"There is no folder {shown}; give one that holds a config.json, or a model's id."
    return (
        f"{shown} is neither a folder nor a model of the catalogue; "
        f"give a folder that holds a config.json, or the id of a known model.{_nearest(name)}"
    )


def _nearest(name: str) -> str:
    near = get_close_matches(name[:100], catalog.names(), n=3, cutoff=0.5)
    return f" The nearest in the catalogue: {', '.join(near)}." if near else ""
