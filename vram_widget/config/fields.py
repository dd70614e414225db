"""The kinds of field a configuration is made of: traits that explain a bad value in one sentence.

Each carries, as traitlets metadata, what a form needs to draw it: ``label``, ``help``, ``group``,
``unit``, ``options``, ``minimum``, ``maximum``, ``scale`` and ``shown_when``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from numbers import Integral, Real
from os import PathLike, fspath
from typing import Any, ClassVar, TypeVar

from traitlets import HasTraits, TraitType

from ..errors import ConfigError, shown
from ..units import GiB
from .expressions import MOST_REPEATS, endless


def nearest(word: object, words: Mapping[str, object] | list[str]) -> str:
    """Return `` Did you mean 'x'?`` for the closest of `words`, or nothing."""
    if not isinstance(word, str):
        return ""
    by_letters = {each.lower(): each for each in words}
    close = get_close_matches(word.lower(), by_letters, n=1, cutoff=0.5)
    return f" Did you mean {by_letters[close[0]]!r}?" if close else ""


def listed(values: object, name: str) -> list[Any]:
    """Return several values as a list, of a text that text alone.

    Raises
    ------
    ConfigError
        If they are no values one after another.

    Examples
    --------
    >>> listed(range(2), "values"), listed("L40S", "values")
    ([0, 1], ['L40S'])
    """
    if isinstance(values, str):
        return [values]
    if not isinstance(values, Iterable):
        raise ConfigError(f"{name} must be a list, not {shown(values)}.")
    return list(values)


def real(value: object) -> int | float | None:
    """Return a number, of numpy's too, as Python's own; None for what is no number.

    Examples
    --------
    >>> real(4), real(0.5), real(True), real("4")
    (4, 0.5, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    return int(value) if isinstance(value, Integral) else float(value)


def plain(value: object) -> object:
    """Return numpy's numbers and truth values as Python's own, and anything else as it is."""
    if type(value).__name__ in ("bool", "bool_"):  # numpy's is no number, and named so since 2.0
        return bool(value)
    number = real(value)
    return value if number is None else number


#: What a field holds.
Held = TypeVar("Held")
#: What a choice holds: one of its options.
Option = TypeVar("Option", bound=str)


class Field(TraitType[Held, Any]):
    """A trait that is synced with the front end and described for a form."""

    def __init__(
        self, default: Held, *, allow_none: bool = False, help: str = "", **described: object
    ) -> None:
        super().__init__(default, allow_none=allow_none, help=help)
        self.tag(sync=True, kind=type(self).__name__.lower(), **described)

    def refuse(self, value: object, wanted: str) -> ConfigError:
        """Return the error that says what this field takes."""
        return ConfigError(f"{self.name} must be {wanted}, not {shown(value)}.")


class Text(Field[Held]):
    """A line of text."""

    def validate(self, obj: HasTraits, value: object) -> str:
        """Return the text without blanks at its ends; of a path, the path as text."""
        if isinstance(value, PathLike):
            value = fspath(value)
        if not isinstance(value, str):
            raise self.refuse(value, "text")
        return value.strip()


class Choice(Field[Option]):
    """One of a few words, given as ``{value: label}``."""

    def __init__(self, default: Option, options: Mapping[Option, str], **described: Any) -> None:
        super().__init__(default, options=dict(options), **described)

    def validate(self, obj: HasTraits, value: object) -> str:
        """Return the word if it is one of the options."""
        options: dict[str, str] = self.metadata["options"]
        if isinstance(value, str) and value in options:
            return value
        hint = nearest(value, options)
        raise ConfigError(
            f"{self.name} must be one of {', '.join(options)}, not {shown(value)}.{hint}"
        )


class Switch(Field[Held]):
    """On or off."""

    def validate(self, obj: HasTraits, value: object) -> bool:
        """Return the value if it is True or False."""
        if not isinstance(plain(value), bool):
            raise self.refuse(value, "True or False")
        return bool(value)


class Count(Field[Held]):
    """A whole number between two bounds; ``scale='log'`` steps by powers of two."""

    def __init__(
        self, default: Held, minimum: int = 1, maximum: int = 1 << 24, **described: Any
    ) -> None:
        super().__init__(default, minimum=minimum, maximum=maximum, **described)

    def validate(self, obj: HasTraits, value: object) -> int:
        """Return the whole number if it lies between the bounds."""
        low, high = self.metadata["minimum"], self.metadata["maximum"]
        number = real(value)
        if number is None or number // 1 != number:
            raise self.refuse(value, "a whole number")
        if not low <= number <= high:
            raise self.refuse(value, f"between {low:,} and {high:,}")
        return int(number)


class Number(Field[Held]):
    """A real number between two bounds."""

    def __init__(self, default: Held, minimum: float, maximum: float, **described: Any) -> None:
        super().__init__(default, minimum=minimum, maximum=maximum, **described)

    def validate(self, obj: HasTraits, value: object) -> float:
        """Return the number if it lies between the bounds."""
        low, high = self.metadata["minimum"], self.metadata["maximum"]
        number = real(value)
        if number is None or not low <= number <= high:
            raise self.refuse(value, f"a number between {low:g} and {high:g}")
        return float(number)


class Modules(Field[Held]):
    """PEFT's target_modules: ``"all-linear"``, a regular expression, or a list of name endings."""

    def validate(self, obj: HasTraits, value: object) -> str | list[str]:
        """Return the expression, or the names as a list."""
        if isinstance(value, str) and value.strip():
            self.check_expression(value)
            return value.strip()
        names = list(value) if isinstance(value, (list, tuple, set)) else []
        if names and all(isinstance(name, str) and name for name in names):
            return sorted(names) if isinstance(value, set) else names
        raise self.refuse(value, '"all-linear", a regular expression or a list of module names')

    def check_expression(self, value: str) -> None:
        """Refuse what is no regular expression, or one that could be searched for hours."""
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise ConfigError(
                f"{self.name} is not a valid regular expression ({error}): {shown(value)}."
            ) from None
        if endless(value):
            raise ConfigError(
                f"{self.name} could be searched for hours ({shown(value)}): repeat no "
                f"group, and with *, + or {{}} at most {MOST_REPEATS} things in a row."
            )


class Names(Modules[list[str] | None]):
    """Names of modules or parameters by their endings, as PEFT's modules_to_save; or none."""

    def __init__(self, **described: Any) -> None:
        super().__init__(None, allow_none=True, **described)
        self.tag(kind="modules")

    def validate(self, obj: HasTraits, value: object) -> list[str]:
        """Return the names as a list."""
        return listed(super().validate(obj, value), str(self.name))


class Expressions(Names):
    """Regular expressions, each searched for in the full names of parameters; or none."""

    def validate(self, obj: HasTraits, value: object) -> list[str]:
        """Return the expressions as a list."""
        expressions = super().validate(obj, value)
        for each in expressions:
            self.check_expression(each)
        return expressions


class Bytes(Field[Held]):
    """An amount of memory: bytes as a whole number, or text such as ``"48GiB"``."""

    UNITS: ClassVar = {
        "": 1,
        "b": 1,
        "mib": 1024**2,
        "gib": GiB,
        "tib": 1024 * GiB,
        "mb": 10**6,
        "gb": 10**9,
        "tb": 10**12,
        "g": GiB,
    }
    #: No card has less, but 80 is easily written for 80 GiB.
    SMALLEST, LARGEST = 1 << 20, 1 << 50

    def validate(self, obj: HasTraits, value: object) -> int:
        """Return the amount in bytes."""
        amount = self.read(value) if isinstance(value, str) else real(value)
        if amount is None:
            raise self.refuse(value, 'bytes as a whole number, or text such as "48GiB"')
        if not self.SMALLEST <= amount <= self.LARGEST:
            raise self.refuse(value, 'between 1 MiB and 1 PiB, in bytes or as text such as "48GiB"')
        return int(amount)

    def read(self, text: str) -> float | None:
        """Return the bytes that a text such as ``"48GiB"`` means; None for another text."""
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", text)
        unit = match and self.UNITS.get(match[2].lower())
        return float(match[1]) * unit if match and unit else None
