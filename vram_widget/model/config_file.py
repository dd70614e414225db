"""Reads a config.json from a folder, and says what is wrong with one that cannot be read."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from ..errors import ModelError, shown

#: Bytes. The largest config.json of a language model is a hundredth of it.
LARGEST = 4 << 20


def locate(path: Path) -> Path:
    """Return the config.json that a folder holds, or the path itself if it is a file."""
    return path / "config.json" if path.is_dir() else path


def read_config(path: Path) -> dict[str, Any]:
    """Return the parsed config.json of a folder, or the one this path names.

    Raises
    ------
    ModelError
        If there is none, it cannot be opened, or it holds no JSON object.
    """
    file = locate(path)
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ModelError(f"{file} is not a file; give a folder that holds a config.json.")
        if found.st_size > LARGEST:
            raise ModelError(
                f"{file} is {found.st_size / 2**20:,.0f} MiB, too large for a config.json; "
                "give the config.json of a language model."
            )
        text = file.read_text("utf-8")
    except FileNotFoundError:
        raise ModelError(without_config(path)) from None
    except UnicodeDecodeError:
        raise ModelError(f"{file} is not UTF-8 text; save it as JSON.") from None
    except OSError as error:
        raise ModelError(
            f"{file} cannot be read ({error.strerror}); check who may read it."
        ) from None
    return parse(text, str(file))


def parse(text: str, name: str) -> dict[str, Any]:
    """Return the object that a config.json's text holds; `name` says whose text it is."""
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise ModelError(
            f"{name} is not valid JSON (line {error.lineno}: {error.msg}); correct it."
        ) from None
    except (RecursionError, ValueError):
        # Nested beyond Python's stack, or a number of more digits than Python reads.
        raise ModelError(f"{name} is nested too deeply or has too long a number.") from None
    if not isinstance(config, dict):
        raise ModelError(
            f"{name} must hold an object of fields; give the config.json of a language model."
        )
    return config


def without_config(path: Path) -> str:
    """Return the sentence for a folder that holds no config.json."""
    adapter = path / "adapter_config.json"
    if adapter.is_file():
        base = read_config(adapter).get("base_model_name_or_path")
        return f"{path} holds an adapter and no config.json; give its base model, {shown(base)}."
    return f"{path} holds no config.json; give a saved model's folder, or a model's id."
