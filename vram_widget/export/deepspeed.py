"""DeepSpeed's configuration for a ZeRO stage: its own file, and as the trainers hand it on.

The file holds what DeepSpeed does, not the run: it is given to a trainer beside its own settings.
"""

from __future__ import annotations

from typing import Any

from ..config import TrainingConfig
from ..errors import ConfigError
from ..trainers import TRAINERS
from .draft import Draft
from .target import Target

STAGES = {"zero1": 1, "zero2": 2, "zero3": 3}


def holds(sharding: str, cpu_offload: str) -> bool:
    """Return whether DeepSpeed can do both: it takes weights off the card in stage 3 alone."""
    return sharding in STAGES and (cpu_offload in ("none", "optimizer") or sharding == "zero3")


def write(config: TrainingConfig) -> dict[str, Any]:
    """Return the DeepSpeed configuration; what the trainer knows it fills in for ``"auto"``.

    Examples
    --------
    >>> config = TrainingConfig("m", sharding="zero2", cpu_offload="optimizer", num_gpus=8)
    >>> write(config)["zero_optimization"]
    {'stage': 2, 'offload_optimizer': {'device': 'cpu'}}
    """
    zero: dict[str, Any] = {"stage": STAGES[config.sharding]}
    if config.cpu_offload in ("optimizer", "all"):
        zero["offload_optimizer"] = {"device": "cpu"}
    if config.cpu_offload in ("parameters", "all"):
        zero["offload_param"] = {"device": "cpu"}
    zero |= config.zero_optimization or {}
    return {
        "zero_optimization": zero,
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
    }


def export(config: TrainingConfig) -> Draft:
    """Return the content of the file, with the numbers that are known.

    Raises
    ------
    ConfigError
        If the choices are none that DeepSpeed runs.
    """
    if config.sharding not in STAGES:
        raise ConfigError(
            f"DeepSpeed shards by ZeRO: take sharding='zero1', 'zero2' or 'zero3', not "
            f"{config.sharding!r}."
        )
    if not holds(config.sharding, config.cpu_offload):
        raise ConfigError(
            "DeepSpeed takes weights off the GPU in ZeRO-3 alone: take sharding='zero3', or "
            "cpu_offload='optimizer'."
        )
    draft = Draft(config, TRAINERS[config.trainer])
    draft.settings = write(config)
    for precision in ("bf16", "fp16"):
        draft.put(precision, {"enabled": config.mixed_precision == precision})
    draft.put("train_micro_batch_size_per_gpu", draft.rows())
    draft.put("gradient_accumulation_steps", config.gradient_accumulation_steps)
    draft.cover(*TrainingConfig.field_names())
    draft.note(
        f"DeepSpeed's file has the sharding, the batch and the precision: give the rest to "
        f"{draft.trainer}, and start it on {config.num_gpus} GPUs."
    )
    return draft.finish()


TARGET = Target("deepspeed", "DeepSpeed", 101, export, language="json")
