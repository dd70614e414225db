"""Unsloth 2026.10.9 by itself, and what it does to a LoRA run whoever calls it.

FastLanguageModel.from_pretrained (models/loader.py), get_peft_model (models/llama.py) and the
defaults it gives SFTConfig (models/rl.py). full_finetuning=True trains bf16 weights with no
autocast. "unsloth" checkpointing offloads the inputs of the blocks and runs them without gradients,
as re-entrant checkpointing does (unsloth_zoo/gradient_checkpointing.py); prepare_model_for_training
keeps adapters in float32, under bf16 autocast (unsloth_zoo/training_utils.py);
unsloth_fused_ce_loss takes lm_head and loss in chunks (models/llama.py). Attention is xformers' or
SDPA's, neither of which makes the length x length matrix.
"""

from __future__ import annotations

from .trainer import Settings, Trainer

SFT: Settings = {
    "gradient_checkpointing": True,
    "use_reentrant": True,
    "offload_activations": True,
    "optim": "adamw_8bit",
    "loss_kernel": "chunked",
    "max_seq_len": 2048,
}
LORA: Settings = {
    **SFT,
    "lora_dtype": "float32",
    "mixed_precision": "bf16",
    "lora_r": 16,
    "lora_dropout": 0.0,
    "target_modules": "all-linear",
    "quantization": "nf4",
    "bnb_4bit_use_double_quant": True,
}
BATCH: Settings = {"micro_batch_size": 4, "gradient_accumulation_steps": 2}

TRAINER = Trainer(
    name="unsloth",
    label="Unsloth",
    order=3,
    defaults={
        "sft": {**SFT, **BATCH},
        "lora": {**LORA, **BATCH, "lora_alpha": 16.0},
        "qlora": {**LORA, **BATCH, "lora_alpha": 16.0},
    },
    # _redirect_embedding_targets and _drop_tied_output_module in models/_utils.py
    saves_targeted_vocabulary=True,
    # the arguments of get_peft_model and of its SFTConfig
    configurable=frozenset(
        {"gradient_checkpointing", "offload_activations", "optim", "lora_dropout"}
    ),
)
