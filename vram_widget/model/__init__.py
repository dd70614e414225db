"""What is trained: from a model's name or folder to every weight's name and shape."""

from __future__ import annotations

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
        A folder that holds a config.json, a config.json itself, or the id of a model in the
        catalogue.

    Raises
    ------
    ModelError
        If the model is not found, or its config.json cannot be read or understood.

    Examples
    --------
    >>> load("meta-llama/Llama-3.1-8B").num_parameters
    8030261248
    """
    path = Path(model_path).expanduser()
    if path.is_dir() or path.is_file():
        return _from_path(path, _modified(locate(path)))
    return _from_catalog(model_path)


@lru_cache(maxsize=64)
def _from_path(path: Path, modified: int) -> Architecture:
    return from_config(read_config(path))


def _modified(file: Path) -> int:
    return file.stat().st_mtime_ns if file.exists() else 0


@lru_cache(maxsize=256)
def _from_catalog(name: str) -> Architecture:
    config = catalog.lookup(name)
    if config is None:
        raise ModelError(_not_found(name))
    return from_config(config)


def _not_found(name: str) -> str:
    near = get_close_matches(name, catalog.names(), n=3, cutoff=0.4)
    hint = f" Nearest in the catalogue: {', '.join(near)}." if near else ""
    return (
        f"{name!r} is neither a folder with a config.json nor in the catalogue; "
        f"give a folder, or one of vram_widget's known models.{hint}"
    )
