"""Models known with no network: their config.json's own dimensions, each with its source."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any


@lru_cache(maxsize=1)
def _models() -> dict[str, dict[str, Any]]:
    text = resources.files(__package__).joinpath("catalog.json").read_text("utf-8")
    models: dict[str, dict[str, Any]] = json.loads(text)
    return models


def names() -> list[str]:
    """Return the id of every model in the catalogue, in alphabetical order.

    Examples
    --------
    >>> "meta-llama/Llama-3.1-8B" in names()
    True
    """
    return list(_models())


def lookup(name: str) -> dict[str, Any] | None:
    """Return the config of the model with this id, or None if the catalogue has none.

    Examples
    --------
    >>> lookup("meta-llama/Llama-3.1-8B")["hidden_size"]
    4096
    """
    entry = _models().get(name)
    if entry is None:
        return None
    return dict(_models()[entry["same_as"]]["config"] if "same_as" in entry else entry["config"])
