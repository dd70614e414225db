"""What PYTORCH_ALLOC_CONF (PYTORCH_CUDA_ALLOC_CONF before PyTorch 2.9) may say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from traitlets import HasTraits

from ..errors import ConfigError, shown
from .fields import Text


def _is_switch(value: str) -> bool:
    return value in ("True", "False")


def _is_size(value: str) -> bool:
    return value.isdigit() and 20 < int(value) < 1 << 40


def _is_power_of_two(value: str) -> bool:
    return value.isdigit() and int(value).bit_count() == 1 and int(value) <= 64


def _is_share(value: str) -> bool:
    try:
        return 0 < float(value) < 1
    except ValueError:
        return False


#: Option -> what it takes, and how to tell. The last two do not bear on what a run reserves that
#: neither limits PyTorch's share of the card nor pins memory.
OPTIONS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "expandable_segments": ("True or False", _is_switch),
    "max_split_size_mb": ("a number of MiB above 20", _is_size),
    "roundup_power2_divisions": ("a power of two up to 64", _is_power_of_two),
    "garbage_collection_threshold": ("a share between 0 and 1", _is_share),
    "pinned_use_cuda_host_register": ("True or False", _is_switch),
}


def options(text: str) -> dict[str, str]:
    """Return the options that the variable's text names.

    Raises
    ------
    ConfigError
        If there is no such option, or it does not take the value.

    Examples
    --------
    >>> options("expandable_segments:True, max_split_size_mb:128")
    {'expandable_segments': 'True', 'max_split_size_mb': '128'}
    """
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (piece.strip() for piece in part.partition(":"))
        if name not in OPTIONS:
            raise ConfigError(
                f"pytorch_alloc_conf has no option {shown(name)}: it is written as in "
                f'"expandable_segments:True", and known are {", ".join(OPTIONS)}.'
            )
        what, takes = OPTIONS[name]
        if not takes(value):
            raise ConfigError(f"pytorch_alloc_conf: {name} is {what}, not {shown(value)}.")
        found[name] = value
    return found


class AllocatorSettings(Text[str]):
    """The variable's text; options that it does not have are refused."""

    def __init__(self, default: str, **described: Any) -> None:
        super().__init__(default, **described)
        self.tag(kind="text")

    def validate(self, obj: HasTraits, value: object) -> str:
        """Return the text."""
        text = super().validate(obj, value)
        options(text)
        return text
