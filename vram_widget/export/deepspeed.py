"""DeepSpeed's configuration for a ZeRO stage, as the trainers hand it on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError, shown
from .parsing import mapping, word

STAGES = {"zero1": 1, "zero2": 2, "zero3": 3}


def holds(sharding: str, cpu_offload: str) -> bool:
    """Return whether DeepSpeed can do both: it takes weights off the card in stage 3 alone."""
    return sharding in STAGES and (cpu_offload != "all" or sharding == "zero3")


def write(sharding: str, cpu_offload: str) -> dict[str, Any]:
    """Return the DeepSpeed configuration; what the trainer knows it fills in for ``"auto"``.

    Examples
    --------
    >>> write("zero2", "optimizer")["zero_optimization"]
    {'stage': 2, 'offload_optimizer': {'device': 'cpu'}}
    """
    zero: dict[str, Any] = {"stage": STAGES[sharding]}
    if cpu_offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if cpu_offload == "all":
        zero["offload_param"] = {"device": "cpu"}
    return {
        "zero_optimization": zero,
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
    }


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
