"""LLaMA-Factory 0.9.5, by its examples.

A file that says nothing of precision trains in float32: a run starts from one of the examples.
examples/train_full/qwen3_full_sft.yaml, train_lora/qwen3_lora_sft.yaml and
train_qlora/qwen3_lora_sft_otfq.yaml, with the classes of hparams/ for what they leave open and
transformers' TrainingArguments for the optimizer.

Weights are loaded in the checkpoint's own dtype (model/loader.py); what trains is turned to float32
and runs under autocast, unless DeepSpeed's ZeRO-3 or `pure_bf16` is on (init_adapter in
model/adapter.py). Blocks are checkpointed unless `disable_gradient_checkpointing` is set
(model_utils/checkpointing.py), re-entrantly unless FSDP's second version shards
(`use_reentrant_gc` in hparams/model_args.py). Samples are padded unless `packing` is set
(hparams/data_args.py).
"""

from __future__ import annotations

from .trainer import STRATEGIES, Settings, Trainer

SFT: Settings = {
    "mixed_precision": "bf16",
    "gradient_checkpointing": True,
    "use_reentrant": True,
    "optim": "adamw_torch_fused",
    "max_seq_len": 2048,
    "padded": True,
}
LORA: Settings = {
    **SFT,
    "lora_r": 8,
    "lora_alpha": 16.0,
    "lora_dropout": 0.0,
    "lora_dtype": "float32",
    "target_modules": "all-linear",
    "gradient_accumulation_steps": 8,
}

TRAINER = Trainer(
    name="llamafactory",
    label="LLaMA-Factory",
    order=6,
    defaults={
        "sft": {
            **SFT,
            "param_dtype": "float32",
            "sharding": "zero3",
            "gradient_accumulation_steps": 2,
        },
        "lora": LORA,
        "qlora": {**LORA, "bnb_4bit_use_double_quant": True},
    },
    # its CustomSeq2SeqTrainer is a transformers Trainer, which leaves FSDP to Accelerate
    upcasts_trained=frozenset({1, 2}),
    shards_tables_apart=True,
    # a model that trains is loaded onto the card of its process (get_train_args, hparams/parser.py)
    strategies=dict.fromkeys(("sft", "lora", "qlora"), STRATEGIES - {"device_map"}),
    reduces_gradients_in_last_pass=True,
    # bnb_4bit_quant_storage is the compute dtype; checkpoints that are quantised already are
    # refused with FSDP and ZeRO-3 (model_utils/quantization.py)
    shardable_quantization=frozenset({"nf4"}),
    use_reentrant=lambda chosen, adapts, sharding, *_: chosen and sharding not in ("fsdp", "hsdp"),
)
