"""The 110 reference steps: real training steps of transformers and PEFT, every storage counted.

`reference/step_memory.csv` was made with PyTorch 2.13, transformers 5.23 and PEFT 0.21 on fake CUDA
tensors; none of it comes from this package.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parent / "reference"

Row = dict[str, str]

DIMENSIONS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "sliding_window",
)
#: What the table's columns leave to the model's published config.json.
SPECIAL: dict[str, dict[str, Any]] = {
    "gemma2": {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    "gemma3_text": {
        "layer_types": [
            "full_attention" if layer % 6 == 5 else "sliding_attention" for layer in range(26)
        ]
    },
    "mistral": {"sliding_window": None},  # version 0.3
}
#: The phases of this package that a phase of the table covers.
PHASES = {
    "s2/fwd": ("forward", "loss"),
    "s2/bwd": ("backward",),
    "s2/opt": ("optimizer_step",),
}


def rows() -> list[Row]:
    """Return the table."""
    with (REFERENCE / "step_memory.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def model_config(row: Row) -> dict[str, Any]:
    """Return the model's config.json."""
    return {
        "model_type": row["model_type"],
        "tie_word_embeddings": row["tie_word_embeddings"] == "true",
        **{name: int(row[name]) for name in DIMENSIONS if row[name]},
        **SPECIAL.get(row["model_type"], {}),
    }


def choices(row: Row) -> dict[str, Any]:
    """Return the fields of TrainingConfig; no default of a trainer plays a part."""
    chosen: dict[str, Any] = {
        "training_method": {"full": "sft", "lora": "lora"}[row["method"]],
        "param_dtype": row["param_dtype"],
        "mixed_precision": "bf16" if row["autocast"] else "no",
        "optim": row["optimizer"],
        "micro_batch_size": int(row["micro_batch_size"]),
        "max_seq_len": int(row["seq_len"]),
        "gradient_checkpointing": row["gradient_checkpointing"] == "true",
        "attn_implementation": row["attn_implementation"],
        "padded": row["padded_4d_mask"] == "true",
        "keeps_outputs": row["keeps_outputs"] == "true",
        "offload_activations": False,
        "loss_kernel": "eager",
        "use_liger": False,
    }
    if row["lora_r"]:
        targets = {"all-linear": "all-linear", "qv": ["q_proj", "v_proj"]}
        chosen |= {
            "lora_r": int(row["lora_r"]),
            "lora_dropout": float(row["lora_dropout"]),
            "lora_dtype": row["lora_adapter_dtype"],
            "target_modules": targets[row["lora_targets"]],
        }
    return chosen
