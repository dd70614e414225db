"""Read DeepSpeed's configuration, as the trainers hand it on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import ConfigError, shown
from ..deepspeed import STAGES
from .parsing import mapping, word


def read(deepspeed: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields that a DeepSpeed configuration decides: `sharding` and `cpu_offload`."""
    zero = mapping(deepspeed.get("zero_optimization"), "zero_optimization")
    stages = {stage: sharding for sharding, stage in STAGES.items()}
    found = {"sharding": word(zero.get("stage", 0), stages, "ddp")}
    weights, states = (
        mapping(zero.get(key), key).get("device", "none") != "none"
        for key in ("offload_param", "offload_optimizer")
    )
    if weights or states:
        found["cpu_offload"] = "all" if weights else "optimizer"
    return found


def opened(deepspeed: object) -> Mapping[str, Any]:
    """Return a DeepSpeed configuration, read from its JSON file where a path is given.

    Raises
    ------
    ConfigError
        If it is neither, or the file cannot be read.
    """
    if isinstance(deepspeed, Mapping):
        return deepspeed
    try:
        content = json.loads(Path(str(deepspeed)).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The DeepSpeed file {shown(deepspeed)} cannot be read ({shown(str(error))}); "
            "give its content instead."
        ) from None
    return mapping(content, f"The DeepSpeed file {deepspeed!s}")
