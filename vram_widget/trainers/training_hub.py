"""Training Hub 0.11.2, on instructlab-training 0.16.2, mini-trainer 0.9.0 and Unsloth.

`sft` (algorithms/sft.py) runs instructlab-training: checkpointing and FlashAttention in model.py,
FSDP HYBRID_SHARD with bf16 over fp32 weights in config.py and accelerator.py, torch.optim.AdamW in
setup_optimizer. `osft` (algorithms/osft.py) runs mini-trainer: setup_model_for_training.py shards
with FSDP2 over all ranks, computes in bf16 over fp32 storage and checkpoints every block; its
use_liger_kernels is off unless use_liger=True is passed. `lora_sft` (algorithms/lora.py) runs
Unsloth with TRL: _apply_lora_config, _build_training_args.
"""

from __future__ import annotations

from .trainer import FSDP, Settings, Trainer
from .unsloth import LORA as UNSLOTH_LORA
from .unsloth import TRAINER as UNSLOTH

FULL: Settings = {
    "param_dtype": "float32",
    "mixed_precision": "bf16",
    "gradient_checkpointing": True,
    "attn_implementation": "flash_attention_2",
    "optim": "adamw_torch",
}
LORA: Settings = {**UNSLOTH_LORA, "lora_alpha": 32.0, "micro_batch_size": 2}

TRAINER = Trainer(
    name="training_hub",
    label="Training Hub",
    order=1,
    defaults={
        "sft": {**FULL, "sharding": "hsdp"},
        "osft": {**FULL, "sharding": "fsdp"},
        "lora": LORA,
        "qlora": LORA,
    },
    # sft: ShardingStrategies in instructlab-training's config.py, and get_ds_plugin in its
    # accelerator.py, which is ZeRO-2; osft: wrap_fsdp2 in mini-trainer's
    # setup_model_for_training.py; lora_sft starts no launcher and sets neither FSDP nor DeepSpeed:
    # DDP under torchrun, or device_map="balanced" (_load_unsloth_model in algorithms/lora.py)
    strategies={
        "sft": frozenset({"ddp", "zero2"}) | FSDP,
        "osft": frozenset({"fsdp"}),
        "lora": frozenset({"ddp", "device_map"}),
        "qlora": frozenset({"ddp", "device_map"}),
    },
    # cpu_offload_params and cpu_offload_optimizer in instructlab-training's config.py
    offloads=frozenset({"sft"}),
    # get_fsdp_config in instructlab-training's accelerator.py
    runs_fsdp1=frozenset({"sft"}),
    # instructlab-training leaves FSDP to Accelerate
    upcasts_trained=frozenset({1}),
    # wrap_fsdp2 in mini-trainer's setup_model_for_training.py
    keeps_last_layer_unsharded=frozenset({"osft"}),
    reduces_in_float32=frozenset({"osft"}),
    # cross_entropy=True, fused_linear_cross_entropy=False in instructlab-training's model.py
    liger_makes_logits=frozenset({"sft"}),
    quantizes_experts=UNSLOTH.quantizes_experts,
    dequantizes_experts_again=UNSLOTH.dequantizes_experts_again,
)
