"""What a trainer has a setting for: no advice is given that it could not follow."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ...config import TrainingConfig
from ...errors import ConfigError
from ...export import TARGETS, draft
from ...trainers import TRAINERS

#: What every trainer has a setting for, or what is none of its settings.
ALWAYS = {
    "training_method",
    "micro_batch_size",
    "max_seq_len",
    "max_tokens_per_gpu",
    "gradient_accumulation_steps",
    "lora_r",
    "num_gpus",
    "num_nodes",
    "gpu",
    "gpu_memory",
}

#: Optimizers of bitsandbytes, which take no sharded tensors.
BITSANDBYTES = {"adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit", "paged_adamw_32bit"}


def can(config: TrainingConfig, changes: Mapping[str, Any]) -> bool:
    """Return whether the trainer of a configuration has settings for these changes.

    Where there is an export to the trainer, that knows them.

    Examples
    --------
    >>> config = TrainingConfig("m", training_method="sft", trainer="training_hub")
    >>> can(config, {"use_liger": True}), can(config, {"optim": "adamw_8bit"})
    (True, False)
    """
    after = config.replace(**changes)
    trainer, method = after.trainer, after.training_method
    try:
        after.check()
    except ConfigError:
        return False
    if not consistent(after.config):
        return False
    fields = tuple((name, value) for name, value in changes.items() if name not in ALWAYS)
    if trainer not in TARGETS:
        return {name for name, _ in fields} <= TRAINERS[trainer].configurable
    return not fields or _exports(trainer, method, after.num_gpus > 1, after.sharding, fields)


def consistent(values: Mapping[str, Any]) -> bool:
    """Return whether the choices go together in the libraries that the trainers run.

    Examples
    --------
    >>> config = TrainingConfig("m", trainer="trl", num_gpus=2, sharding="fsdp")
    >>> consistent(config.config), consistent({**config.config, "optim": "adamw_8bit"})
    (True, False)
    >>> qlora = config.replace(training_method="qlora")
    >>> consistent(qlora.config), consistent({**qlora.config, "quantization": "int8"})
    (True, False)
    """
    if values["optimizer_in_backward"] and values["gradient_accumulation_steps"] > 1:
        return False  # a gradient is gone before the next pass could add to it
    if values["num_gpus"] == 1 or values["sharding"] in ("ddp", "device_map"):
        return True
    if values["optim"] in BITSANDBYTES:
        return False
    if values["training_method"] != "qlora":
        return True
    return TRAINERS[values["trainer"]].can_shard(values["quantization"], values["sharding"])


@lru_cache(maxsize=1024)
def _exports(
    trainer: str, method: str, several: bool, sharding: str, fields: tuple[tuple[str, Any], ...]
) -> bool:
    wanted = {"num_gpus": 2 if several else 1, "sharding": sharding, **dict(fields)}
    config = TrainingConfig.of({"trainer": trainer, "training_method": method, **wanted})
    try:
        unsupported = draft(config, trainer).unsupported
    except ConfigError:
        return False
    return not {name for name, _ in fields} & set(unsupported)
