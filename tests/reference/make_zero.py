"""Make zero.csv: training steps sharded by DeepSpeed's own engine, traced.

    pip install '.[trace,deepspeed]'
    python tests/reference/make_zero.py                # all rows, some minutes
    python tests/reference/make_zero.py --only zero3   # trace these anew, keep the others

Each row is a run of DeepSpeed, transformers and PEFT on fake tensors (vram_widget.trace), as the
last of the GPUs. The choices and the columns are those of the grid (make_grid.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from make_grid import CHECKPOINTING, LORA, QLORA, Choices, Row, main

from vram_widget.config.zero_optimization import AUTO

TABLE = Path(__file__).parent / "zero.csv"

#: What TRL trains in, by default.
BF16: Choices = {"param_dtype": "float32", "mixed_precision": "bf16", "max_seq_len": 256}
METHODS: dict[str, Choices] = {
    "bf16": BF16,
    "bf16 checkpointing": {**BF16, **CHECKPOINTING},
    "bf16 checkpointing long": {**BF16, **CHECKPOINTING, "max_seq_len": 2048},
    "lora": {**BF16, **LORA},
    "lora checkpointing": {**BF16, **LORA, **CHECKPOINTING, "max_seq_len": 1024},
}
#: A file's own sizes: small buckets, and less than the model may live.
SIZES = {
    "reduce_bucket_size": 20_000_000,
    "stage3_max_live_parameters": 300_000_000,
    "stage3_max_reuse_distance": 300_000_000,
    "stage3_prefetch_bucket_size": 10_000_000,
    "sub_group_size": 50_000_000,
}
STAGES = ("zero1", "zero2", "zero3")


def rows() -> Iterator[Row]:
    """Yield each row's id, config and choices."""
    for stage in STAGES:
        for method, choices in METHODS.items():
            cluster = {"sharding": stage, "num_gpus": 8}
            yield f"llama-3.2-1b {method} {stage}", "llama-3.2-1b", {**choices, **cluster}
        small = {**BF16, **CHECKPOINTING, "sharding": stage, "num_gpus": 4}
        for model in ("mistral-7b", "qwen2.5-0.5b-all-layers", "mixtral-8x7b"):
            yield f"{model} {stage}", model, small
        adapts = {**QLORA, "mixed_precision": "bf16", "sharding": stage, "num_gpus": 8}
        yield f"llama-3.2-1b qlora {stage}", "llama-3.2-1b", adapts
        yield f"mistral-7b lora {stage}", "mistral-7b", {**small, **LORA}
        for name, choices in {
            "2 GPUs": {"num_gpus": 2},
            "accumulates": {"gradient_accumulation_steps": 4},
            "fp32": {"mixed_precision": "no"},
            "sizes": {"zero_optimization": SIZES},
            "auto sizes": {"zero_optimization": dict.fromkeys(AUTO, "auto")},
            "adamw_torch": {"optim": "adamw_torch"},
        }.items():
            yield f"llama-3.2-1b {stage} {name}", "llama-3.2-1b", {**small, **choices}


if __name__ == "__main__":
    main(TABLE, rows())
