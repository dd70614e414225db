"""The settings each trainer really runs with: one small table a trainer, each with its source."""

from __future__ import annotations

from typing import Any

Settings = dict[str, Any]

# Training Hub 0.11: sft runs instructlab-training, osft mini-trainer, lora_sft Unsloth with TRL.
TRAINING_HUB: dict[str, Settings] = {
    "sft": {
        "param_dtype": "float32",
        "mixed_precision": "bf16",
        "gradient_checkpointing": True,
        "attn_implementation": "flash_attention_2",
        "sharding": "hsdp",
        "optim": "adamw_torch",
    },
    "osft": {
        "param_dtype": "float32",
        "mixed_precision": "bf16",
        "gradient_checkpointing": True,
        "attn_implementation": "flash_attention_2",
        "sharding": "fsdp",
        "optim": "adamw_torch",
        "use_liger": True,
        "loss_kernel": "liger",
    },
    "lora": {
        "mixed_precision": "bf16",
        "gradient_checkpointing": True,
        "offload_activations": True,
        "attn_implementation": "flash_attention_2",
        "optim": "adamw_8bit",
        "loss_kernel": "fused",
    },
}
TRAINING_HUB["qlora"] = TRAINING_HUB["lora"]

TRAINERS: dict[str, dict[str, Settings]] = {"training_hub": TRAINING_HUB}


def defaults(trainer: str, training_method: str) -> Settings:
    """Return the fields that `trainer` sets for `training_method`; empty where it sets none.

    Examples
    --------
    >>> defaults("training_hub", "sft")["param_dtype"]
    'float32'
    """
    return TRAINERS.get(trainer, {}).get(training_method, {})
