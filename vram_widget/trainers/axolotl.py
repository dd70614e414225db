"""Axolotl, from its repository at 067b021.

It gives no rank, and no length a person would want, by default: a run starts from one of its
examples. examples/llama-3/fft-8b.yaml, lora-1b.yml and qlora.yml; `bf16: auto` loads bf16 weights
and trains under autocast (utils/config, core/builders), the adapters in PEFT's float32; NF4 with
double quantisation (loaders/model.py).
"""

from __future__ import annotations

from .trainer import Settings, Trainer

SFT: Settings = {
    "mixed_precision": "bf16",
    "gradient_checkpointing": True,
    "attn_implementation": "flash_attention_2",
}
LORA: Settings = {
    **SFT,
    "lora_dropout": 0.05,
    "lora_dtype": "float32",
    "target_modules": "all-linear",
    "micro_batch_size": 2,
}

TRAINER = Trainer(
    name="axolotl",
    label="Axolotl",
    order=4,
    defaults={
        "sft": {
            **SFT,
            "optim": "paged_adamw_8bit",
            "max_seq_len": 8192,
            "gradient_accumulation_steps": 8,
        },
        "lora": {
            **LORA,
            "lora_r": 16,
            "lora_alpha": 32.0,
            "optim": "adamw_8bit",
            "max_seq_len": 2048,
            "gradient_accumulation_steps": 2,
        },
        "qlora": {
            **LORA,
            "lora_r": 32,
            "lora_alpha": 16.0,
            "optim": "paged_adamw_32bit",
            "max_seq_len": 4096,
            "gradient_accumulation_steps": 4,
        },
    },
    reduces_gradients_in_last_pass=True,
    # loaders/model.py calls prepare_model_for_kbit_training, and packs NF4 into floats for FSDP
    upcasts_quantized_base=True,
    shardable_quantization=frozenset({"nf4"}),
)
