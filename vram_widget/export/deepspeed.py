"""DeepSpeed's configuration for a ZeRO stage, as the trainers hand it on."""

from __future__ import annotations

from typing import Any

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
