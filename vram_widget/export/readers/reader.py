"""What reads the settings of one program, and knows them when it sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...config import TrainingConfig


@dataclass(frozen=True)
class Reader:
    """What reads the settings of one program. A module of this folder with a `READER` is one.

    Attributes
    ----------
    name, label : str
        What the package calls the program, and what people do.
    order : int
        Its place where several could be asked: those with the surest signs first.
    recognises : callable
        Says of settings, by their keys, whether they are the program's.
    read : callable
        Returns the configuration of settings: a mapping, text or a path; keywords win.
    """

    name: str
    label: str
    order: int
    recognises: Callable[[Mapping[str, Any]], bool]
    read: Callable[..., TrainingConfig]
