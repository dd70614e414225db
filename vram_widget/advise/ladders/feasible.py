"""What a trainer can be told: no advice is given that it could not follow."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ... import trainers
from ...config import TrainingConfig
from ...errors import ConfigError
from ...export import TARGETS, draft
from ...export.trl import DIVIDES_WEIGHTS

#: What every trainer is told, or what is not the trainer's to know.
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

#: What the trainers that nothing is exported to are told beside that. Unsloth: the arguments of
#: get_peft_model and of its SFTConfig. torchtune: the keys of its recipes' files
#: (recipes/configs/llama3_1/8B_lora_single_device.yaml, 8B_full.yaml): `loss`, `optimizer`,
#: `optimizer_in_bwd`, `enable_activation_checkpointing`, `enable_activation_offloading`.
TOLD = {
    "unsloth": {"gradient_checkpointing", "offload_activations", "optim", "lora_dropout"},
    "torchtune": {
        "gradient_checkpointing",
        "offload_activations",
        "optim",
        "optimizer_in_backward",
        "loss_kernel",
        "param_dtype",
        "lora_dropout",
        "use_dora",
    },
}

#: Optimizers of bitsandbytes, which take whole tensors: none that are divided among GPUs.
WHOLE_TENSORS = {"adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit", "paged_adamw_32bit"}

#: What of a quantised base can be divided: FSDP and ZeRO-3 divide floats, not the whole numbers of
#: other schemes. TRL is told to pack NF4 into floats (bnb_4bit_quant_storage), Axolotl does so by
#: itself (loaders/model.py), and torchtune has a tensor of its own that FSDP divides.
DIVISIBLE = {("trl", "nf4"), ("axolotl", "nf4"), ("torchtune", "nf4")}


def can(config: TrainingConfig, changes: Mapping[str, Any]) -> bool:
    """Return whether the trainer of a configuration can be told to change these fields.

    Where an export to the trainer is known, the export says what it can be told.

    Examples
    --------
    >>> config = TrainingConfig("m", training_method="sft", trainer="training_hub")
    >>> can(config, {"use_liger": True}), can(config, {"optim": "adamw_8bit"})
    (True, False)
    """
    after = config.replace(**changes)
    trainer, method = after.trainer, after.training_method
    if not (trainers.supports(trainer, method) and consistent(after.config)):
        return False
    asked = tuple((name, value) for name, value in changes.items() if name not in ALWAYS)
    if trainer not in TARGETS:
        return {name for name, _ in asked} <= TOLD[trainer]
    return not asked or _told(trainer, method, after.num_gpus > 1, after.sharding, asked)


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
    if values["num_gpus"] == 1 or values["sharding"] == "ddp":
        return True
    if values["optim"] in WHOLE_TENSORS:
        return False
    if values["training_method"] != "qlora" or values["sharding"] not in DIVIDES_WEIGHTS:
        return True
    return (values["trainer"], values["quantization"]) in DIVISIBLE


@lru_cache(maxsize=1024)
def _told(
    trainer: str, method: str, several: bool, sharding: str, asked: tuple[tuple[str, Any], ...]
) -> bool:
    wanted = {"num_gpus": 2 if several else 1, "sharding": sharding, **dict(asked)}
    config = TrainingConfig(trainer=trainer, training_method=method, **wanted)
    try:
        untold = draft(config, trainer).untold
    except ConfigError:
        return False
    return not {name for name, _ in asked} & set(untold)
