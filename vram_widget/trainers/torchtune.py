"""torchtune 0.6.1, by its single-device recipes for Llama 3.1 8B.

recipes/configs/llama3_1/8B_full_single_device.yaml, 8B_lora_single_device.yaml and
8B_qlora_single_device.yaml. All of it in bf16, adapters too; batches are padded, not packed. On
several GPUs its recipes use FSDP (and, for full fine-tuning, fused AdamW with an ordinary
backward): every layer is a group, and the rest one that stays unsharded from forward to backward
(shard_model in training/_distributed.py). An optimizer in backward updates each shard once its
group's gradients are reduced (full_finetune_distributed.py, by configuration). The loss goes
through the tokens in parts and saves the log-probabilities of all (modules/loss).
"""

from __future__ import annotations

from .trainer import FSDP, Settings, Trainer

SFT: Settings = {
    "gradient_checkpointing": True,
    "loss_kernel": "chunked",
    "micro_batch_size": 2,
    "padded": True,
    "sharding": "fsdp",
}
LORA: Settings = {
    **SFT,
    "lora_r": 8,
    "lora_alpha": 16.0,
    "lora_dropout": 0.0,
    "lora_dtype": "bfloat16",
    "target_modules": ["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "optim": "adamw_torch_fused",
    "gradient_accumulation_steps": 8,
}

TRAINER = Trainer(
    name="torchtune",
    label="torchtune",
    order=5,
    defaults={
        "sft": {**SFT, "optim": "paged_adamw_8bit", "optimizer_in_backward": True},
        "lora": LORA,
        "qlora": {**LORA, "bnb_4bit_use_double_quant": True},
    },
    # "DDP is currently not supported" (full_finetune_distributed.py, lora_finetune_distributed.py):
    # they run FSDP alone, hybrid by data_parallel_replicate_dim; its SHARD_GRAD_OP
    # (fsdp_reshard_after_forward: false) shards what ZeRO-2 does
    strategies=dict.fromkeys(("sft", "lora", "qlora"), frozenset({"zero2"}) | FSDP),
    # its NF4 is torchao's, a tensor of its own that FSDP shards, scales and all
    shardable_quantization=frozenset({"nf4"}),
    shards_quantization_scales=True,
    saves_parts_of_loss=True,
    # the keys of the files (8B_lora_single_device.yaml, 8B_full.yaml): loss, optimizer,
    # optimizer_in_bwd, enable_activation_checkpointing, enable_activation_offloading
    configurable=frozenset(
        {
            "gradient_checkpointing",
            "offload_activations",
            "optim",
            "optimizer_in_backward",
            "loss_kernel",
            "param_dtype",
            "lora_dropout",
            "use_dora",
        }
    ),
)
