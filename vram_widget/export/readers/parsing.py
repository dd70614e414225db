"""Settings that others wrote: each checked to be of the kind it is read as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...config import TrainingConfig
from ...config.fields import real
from ...errors import ConfigError, shown


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
    number = real(value)
    if number is None or number // 1 != number or not 0 < number <= 1 << 40:
        raise ConfigError(f"{name} must be a whole number above zero, not {shown(value)}.")
    return int(number)


def configuration(
    found: Mapping[str, Any], choices: Mapping[str, Any], model_key: str
) -> TrainingConfig:
    """Return the configuration of what was read; `choices` win.

    Raises
    ------
    ConfigError
        If neither names a model: another one's memory would be no answer.
    """
    fields = {**found, **choices}
    if fields.get("model_path") is None:
        raise ConfigError(f"No model is named: give {model_key} in the settings, or model_path.")
    return TrainingConfig(**fields)


def word(value: object, words: Mapping[Any, str], other: Any) -> Any:
    """Return our word for another's, or `other` for one that is not among them.

    Examples
    --------
    >>> word(2, {2: "zero2"}, "ddp"), word([], {2: "zero2"}, "ddp")
    ('zero2', 'ddp')
    """
    return words.get(value, other) if isinstance(value, (str, int)) else other
