"""TRL 1.16.0 on transformers 5.23, as `trl sft` runs.

SFTConfig (trainer/sft_config.py, base_config.py) over transformers' TrainingArguments, and
ModelConfig (trainer/model_config.py), which loads weights in float32. SFTTrainer takes lm_head and
loss in chunks (add_fused_lm_head, trainer/sft_trainer.py) and turns the adapters of a quantised
base to bf16; it calls no prepare_model_for_kbit_training. Without lora_target_modules it leaves
them to PEFT.
"""

from __future__ import annotations

from .peft import QUERY_AND_VALUE
from .trainer import STRATEGIES, Settings, Trainer

SFT: Settings = {
    "param_dtype": "float32",
    "mixed_precision": "bf16",
    "gradient_checkpointing": True,
    "optim": "adamw_torch_fused",
    "loss_kernel": "chunked",
    "micro_batch_size": 8,
    "max_seq_len": 1024,
    "padded": True,
}
LORA: Settings = {
    **SFT,
    "lora_r": 16,
    "lora_alpha": 32.0,
    "lora_dropout": 0.05,
    "target_modules": QUERY_AND_VALUE,
}

TRAINER = Trainer(
    name="trl",
    label="TRL",
    order=2,
    defaults={
        "sft": SFT,
        "lora": {**LORA, "lora_dtype": "float32"},
        "qlora": {**LORA, "lora_dtype": "bfloat16", "bnb_4bit_use_double_quant": False},
    },
    # its Trainer is transformers', which leaves FSDP to Accelerate
    upcasts_trained=frozenset({1, 2}),
    shards_tables_apart=True,
    # transformers' Trainer by Accelerate, and a device_map among model_init_kwargs
    strategies=dict.fromkeys(("sft", "lora", "qlora"), STRATEGIES),
    reduces_gradients_in_last_pass=True,
    # bnb_4bit_quant_storage packs NF4 into floats, where it is set to their dtype
    shardable_quantization=frozenset({"nf4"}),
    leaves_targets_to_peft=True,
    # SFTTrainer forces it under ZeRO-3 with PEFT
    use_reentrant=lambda chosen, adapts, sharding, *_: chosen or (adapts and sharding == "zero3"),
)
