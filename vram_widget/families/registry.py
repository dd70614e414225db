"""Every family there is a file of."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from pathlib import Path

from ..step.family import Family


@cache
def families() -> dict[str, Family]:
    """Return what is known of each model_type: the `FAMILIES` of every file here.

    They are imported when the first model is read, and not with the package.
    """
    found: dict[str, Family] = {}
    for file in pkgutil.iter_modules([str(Path(__file__).parent)], f"{__package__}."):
        found |= getattr(import_module(file.name), "FAMILIES", {})
    return found
