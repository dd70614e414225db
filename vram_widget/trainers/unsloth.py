"""Unsloth 2026.10.9 by itself, and what it does to a LoRA run whoever calls it.

FastLanguageModel.from_pretrained (models/loader.py), get_peft_model (models/llama.py) and the
defaults it gives SFTConfig (models/rl.py). full_finetuning=True trains bf16 weights with no
autocast. "unsloth" checkpointing offloads the inputs of the blocks and runs them without gradients,
as re-entrant checkpointing does (unsloth_zoo/gradient_checkpointing.py); prepare_model_for_training
keeps adapters in float32, under bf16 autocast (unsloth_zoo/training_utils.py);
unsloth_fused_ce_loss takes lm_head and loss in chunks (models/llama.py). Attention is xformers' or
SDPA's, neither of which makes the length x length matrix. Fused experts are quantised too, and
dequantised once for forward and once more for backward
(unsloth_zoo/temporary_patches/moe_utils_bnb4bit.py).
"""

from __future__ import annotations

from .trainer import STRATEGIES, Settings, Trainer

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
    "quantize_moe_experts": True,
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
    # DDP (models/_ddp_defaults.py), FSDP2 with UNSLOTH_FSDP2=1 (fsdp2_launch.py, models/fsdp2.py),
    # DeepSpeed (deepspeed_zero_stage in models/loader_utils.py), or a device_map (models/loader.py)
    strategies=dict.fromkeys(("sft", "lora", "qlora"), STRATEGIES - {"hsdp"}),
    # models/fsdp2_qlora.py
    shardable_quantization=frozenset({"nf4"}),
    # _redirect_embedding_targets and _drop_tied_output_module in models/_utils.py
    saves_targeted_vocabulary=True,
    # unsloth_zoo's temporary_patches/moe_utils_bnb4bit.py
    quantizes_experts=True,
    # _GroupedMMRecompute in unsloth_zoo's temporary_patches/moe_utils.py
    dequantizes_experts_again=True,
    # the arguments of get_peft_model and of its SFTConfig
    configurable=frozenset(
        {"gradient_checkpointing", "offload_activations", "optim", "lora_dropout"}
    ),
)
