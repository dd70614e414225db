"""What reads the settings of one program, and knows them when it sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from ...config import TrainingConfig

#: Reads the words of a command line that follow the program's name; the choices of a call win.
Command = Callable[[Sequence[str], Mapping[str, Any]], TrainingConfig]


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
    commands : mapping
        What a command line begins with -> what reads the words that follow.
    """

    name: str
    label: str
    order: int
    recognises: Callable[[Mapping[str, Any]], bool]
    read: Callable[..., TrainingConfig]
    commands: Mapping[str, Command] = field(default_factory=dict, hash=False)


def readers() -> list[Reader]:
    """Return every reader, those with the surest signs first.

    Examples
    --------
    >>> "torchtune" in [reader.name for reader in readers()]
    True
    """
    package = import_module(__package__)
    modules = [
        import_module(f"{__package__}.{file.name}") for file in iter_modules(package.__path__)
    ]
    found: list[Reader] = [each.READER for each in modules if hasattr(each, "READER")]
    return sorted(found, key=lambda reader: reader.order)
