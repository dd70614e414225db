"""Settings that others wrote: each checked to be of the kind it is read as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError, shown


def mapping(value: object, name: str) -> Mapping[str, Any]:
    """Return a mapping of settings; nothing counts as an empty one.

    Raises
    ------
    ConfigError
        If it is none.

    Examples
    --------
    >>> mapping({"stage": 2}, "zero_optimization"), mapping(None, "fsdp_options")
    ({'stage': 2}, {})
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} must be a mapping of settings, not {shown(value)}.")
    return value


def count(value: object, name: str) -> int:
    """Return a whole number above zero.

    Raises
    ------
    ConfigError
        If it is none.

    Examples
    --------
    >>> count(8, "effective_batch_size")
    8
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 1 << 40:
        raise ConfigError(f"{name} must be a whole number above zero, not {shown(value)}.")
    return value


def word(value: object, words: Mapping[Any, str], other: Any) -> Any:
    """Return our word for another's, or `other` for one that is not among them.

    Examples
    --------
    >>> word(2, {2: "zero2"}, "ddp"), word([], {2: "zero2"}, "ddp")
    ('zero2', 'ddp')
    """
    return words.get(value, other) if isinstance(value, (str, int)) else other
