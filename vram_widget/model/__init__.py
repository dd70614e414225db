"""What is trained: from a model's name or folder to every weight's name and shape."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from ..errors import ModelError
from . import catalog
from .architecture import Architecture
from .config_file import locate, read_config
from .families import from_config

__all__ = ["Architecture", "from_config", "load"]


def load(model_path: str) -> Architecture:
    """Return the architecture of a model.

    Parameters
    ----------
    model_path : str
        A folder that holds a config.json, a config.json itself, the id of a model in the
        catalogue, or the id of what by its name is a copy or a fine-tune of one.

    Raises
    ------
    ModelError
        If the model is not found, or its config.json cannot be read or understood.

    Examples
    --------
    >>> load("meta-llama/Llama-3.1-8B").num_parameters
    8030261248
    """
    path = _existing(model_path)
    if path is not None:
        return _from_path(path, _modified(path))
    return _from_catalog(model_path.strip())


def _existing(model_path: str) -> Path | None:
    """Return the folder or file that this names, if there is one."""
    if not model_path.strip():
        raise ModelError("No model is named; give a folder, or a model's id such as Qwen/Qwen3-8B.")
    try:
        path = Path(model_path.strip()).expanduser().absolute()
        return path if path.exists() else None
    except PermissionError:
        raise ModelError(f"{model_path} cannot be read; check who may read it.") from None
    except (OSError, ValueError, RuntimeError):
        # Too long, or of characters that no file's name has.
        return None


def _modified(path: Path) -> int:
    file = locate(path)
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0  # read_config says what is wrong with it


@lru_cache(maxsize=64)
def _from_path(path: Path, modified: int) -> Architecture:
    return from_config(read_config(path))


@lru_cache(maxsize=256)
def _from_catalog(name: str) -> Architecture:
    config = catalog.lookup(name)
    if config is not None:
        return from_config(config)
    kin = catalog.kin(name)
    if kin is None:
        raise ModelError(_not_found(name))
    architecture = _from_catalog(kin)
    notice = f"{name} is not in the catalogue; by its name it has the dimensions of {kin}."
    return replace(architecture, notices=(*architecture.notices, notice))


def _not_found(name: str) -> str:
    shown = name if len(name) <= 100 else f"{name[:100]}..."
    if name.startswith(("/", "./", "../", "~")) or "\\" in name:
        return f"There is no folder {shown}; give one that holds a config.json, or a model's id."
    near = get_close_matches(name[:100], catalog.names(), n=3, cutoff=0.5)
    hint = f" The nearest it has: {', '.join(near)}." if near else ""
    return (
        f"{shown} is neither a folder nor a model of the catalogue; "
        f"give a folder that holds a config.json, or the id of a known model.{hint}"
    )
