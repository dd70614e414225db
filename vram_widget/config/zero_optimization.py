"""The sizes of DeepSpeed's ``zero_optimization`` that decide what ZeRO holds on a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from traitlets import HasTraits

from ..errors import ConfigError, shown
from .fields import Field, nearest, real

#: Size -> DeepSpeed's default, in elements (runtime/zero/config.py, 0.19.8).
DEFAULTS: dict[str, int] = {
    "reduce_bucket_size": 500_000_000,
    "allgather_bucket_size": 500_000_000,
    "stage3_max_live_parameters": 1_000_000_000,
    "stage3_max_reuse_distance": 1_000_000_000,
    "stage3_prefetch_bucket_size": 50_000_000,
    "stage3_param_persistence_threshold": 100_000,
    "sub_group_size": 1_000_000_000,
}

#: The largest size that is taken.
MOST = 1 << 50

#: Sizes that transformers fills in for ``"auto"``, as a share of the hidden size, squared in the
#: first two (``HfTrainerDeepSpeedConfig.trainer_config_finalize``, 5.23).
AUTO = ("reduce_bucket_size", "stage3_prefetch_bucket_size", "stage3_param_persistence_threshold")


def filled_in(sizes: Mapping[str, int | str], hidden_size: int) -> dict[str, int]:
    """Return the sizes with what transformers fills in for ``"auto"``, and DeepSpeed's defaults.

    Examples
    --------
    >>> filled_in({"reduce_bucket_size": "auto"}, 4096)["reduce_bucket_size"]
    16777216
    """
    square = hidden_size * hidden_size
    auto = dict(zip(AUTO, (square, int(0.9 * square), 10 * hidden_size), strict=True))
    given = {name: auto[name] if size == "auto" else int(size) for name, size in sizes.items()}
    return {**DEFAULTS, **given}


class ZeroOptimization(Field[dict[str, Any] | None]):
    """Sizes by DeepSpeed's names for them, in elements; or none, for its defaults."""

    def __init__(self, **described: Any) -> None:
        super().__init__(None, allow_none=True, **described)

    def validate(self, obj: HasTraits, value: object) -> dict[str, int | str]:
        """Return the sizes, checked."""
        if not isinstance(value, Mapping):
            raise self.refuse(value, "a mapping of sizes")
        return {self._name(name): self._size(str(name), size) for name, size in value.items()}

    def _name(self, name: object) -> str:
        if isinstance(name, str) and name in DEFAULTS:
            return name
        raise ConfigError(
            f"{self.name} has no size {shown(name)}, but {', '.join(DEFAULTS)}."
            f"{nearest(name, list(DEFAULTS))}"
        )

    def _size(self, name: str, size: object) -> int | str:
        if size == "auto" and name in AUTO:
            return "auto"
        least = 1 if name == "reduce_bucket_size" else 0
        number = real(size)
        if not isinstance(number, int) or not least <= number <= MOST:
            raise ConfigError(
                f"{self.name}: {name} must be a number of elements from {least} on, not "
                f"{shown(size)}."
            )
        return number
