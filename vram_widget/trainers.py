"""The settings each trainer really runs with: one small table a trainer, each with its source.

A table holds only what differs from the fields' own defaults. Read from the released packages:
training-hub 0.11.2 (with instructlab-training 0.16.2 and rhai-innovation-mini-trainer 0.9.0),
trl 1.16.0 on transformers 5.23, unsloth 2026.10.9, torchtune 0.6.1, and from axolotl's repository
at 067b021.
"""

from __future__ import annotations

from typing import Any

Settings = dict[str, Any]
Targets = str | list[str]

QUERY_AND_VALUE = ["q_proj", "v_proj"]
#: model_type -> what PEFT adapts where it is told nothing (peft 0.21, utils/constants.py,
#: TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING). Of any other family it wants to be told.
PEFT_TARGETS: dict[str, Targets] = {
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text", "gemma4_text"), QUERY_AND_VALUE),
    **dict.fromkeys(("llama", "llama4_text", "mistral", "mixtral"), QUERY_AND_VALUE),
    **dict.fromkeys(("qwen2", "qwen3", "stablelm"), QUERY_AND_VALUE),
    "falcon": ["query_key_value"],
    "gpt2": ["c_attn"],
    "gpt_bigcode": ["c_attn"],
    "gpt_neox": ["query_key_value"],
    "nemotron_h": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "phi": ["q_proj", "v_proj", "fc1", "fc2"],
}

# Training Hub. sft (algorithms/sft.py) runs instructlab-training: checkpointing and FlashAttention
# in model.py, FSDP HYBRID_SHARD with bf16 over fp32 weights in config.py and accelerator.py,
# torch.optim.AdamW in setup_optimizer. osft (algorithms/osft.py) runs mini-trainer:
# setup_model_for_training.py shards with FSDP2 over all ranks, computes in bf16 over fp32 storage
# and checkpoints every block; its use_liger_kernels is off unless use_liger=True is passed.
_HUB_FULL: Settings = {
    "param_dtype": "float32",
    "mixed_precision": "bf16",
    "gradient_checkpointing": True,
    "attn_implementation": "flash_attention_2",
    "optim": "adamw_torch",
}

# What Unsloth does to a LoRA run whoever calls it. "unsloth" checkpointing offloads the inputs of
# the blocks; prepare_model_for_training keeps adapters in float32, under bf16 autocast
# (unsloth_zoo/training_utils.py); its SFTConfig sets optim="adamw_8bit" (models/rl.py);
# unsloth_fused_ce_loss takes lm_head and loss in chunks (models/llama.py). Attention is xformers'
# or SDPA's, neither of which makes the length x length matrix.
_UNSLOTH_LORA: Settings = {
    "lora_dtype": "float32",
    "mixed_precision": "bf16",
    "gradient_checkpointing": True,
    "offload_activations": True,
    "optim": "adamw_8bit",
    "loss_kernel": "chunked",
    "max_seq_len": 2048,
    "lora_r": 16,
    "lora_dropout": 0.0,
    "target_modules": "all-linear",
    "quantization": "nf4",
    "bnb_4bit_use_double_quant": True,
}

# lora_sft (algorithms/lora.py) runs Unsloth with TRL: _apply_lora_config, _build_training_args.
_HUB_LORA: Settings = {**_UNSLOTH_LORA, "lora_alpha": 32.0, "micro_batch_size": 2}

TRAINING_HUB: dict[str, Settings] = {
    "sft": {**_HUB_FULL, "sharding": "hsdp"},
    "osft": {**_HUB_FULL, "sharding": "fsdp"},
    "lora": _HUB_LORA,
    "qlora": _HUB_LORA,
}

# TRL's `trl sft`: SFTConfig (trainer/sft_config.py, base_config.py) over transformers'
# TrainingArguments, and ModelConfig (trainer/model_config.py), which loads weights in float32.
# SFTTrainer takes lm_head and loss in chunks (add_fused_lm_head, trainer/sft_trainer.py) and turns
# the adapters of a quantised base to bf16. Without lora_target_modules it leaves them to PEFT.
_TRL: Settings = {
    "param_dtype": "float32",
    "mixed_precision": "bf16",
    "gradient_checkpointing": True,
    "optim": "adamw_torch_fused",
    "loss_kernel": "chunked",
    "micro_batch_size": 8,
    "max_seq_len": 1024,
    "padded": True,
}
_TRL_LORA: Settings = {
    **_TRL,
    "lora_r": 16,
    "lora_alpha": 32.0,
    "lora_dropout": 0.05,
    "target_modules": QUERY_AND_VALUE,
}

TRL: dict[str, Settings] = {
    "sft": _TRL,
    "lora": {**_TRL_LORA, "lora_dtype": "float32"},
    "qlora": {**_TRL_LORA, "lora_dtype": "bfloat16", "bnb_4bit_use_double_quant": False},
}

# Unsloth by itself: FastLanguageModel.from_pretrained (models/loader.py), get_peft_model
# (models/llama.py) and the defaults it gives SFTConfig (models/rl.py). full_finetuning=True trains
# bf16 weights with no autocast.
_UNSLOTH_BATCH: Settings = {"micro_batch_size": 4, "gradient_accumulation_steps": 2}

UNSLOTH: dict[str, Settings] = {
    "sft": {
        "gradient_checkpointing": True,
        "offload_activations": True,
        "optim": "adamw_8bit",
        "loss_kernel": "chunked",
        "max_seq_len": 2048,
        **_UNSLOTH_BATCH,
    },
    "lora": {**_UNSLOTH_LORA, **_UNSLOTH_BATCH, "lora_alpha": 16.0},
    "qlora": {**_UNSLOTH_LORA, **_UNSLOTH_BATCH, "lora_alpha": 16.0},
}

# Axolotl gives no rank, and no length a person would want, by default: a run starts from one of its
# examples. examples/llama-3/fft-8b.yaml, lora-1b.yml and qlora.yml; `bf16: auto` loads bf16 weights
# and trains under autocast (utils/config, core/builders), the adapters in PEFT's float32; NF4 with
# double quantisation (loaders/model.py).
_AXOLOTL: Settings = {
    "mixed_precision": "bf16",
    "gradient_checkpointing": True,
    "attn_implementation": "flash_attention_2",
}
_AXOLOTL_LORA: Settings = {
    **_AXOLOTL,
    "lora_dropout": 0.05,
    "lora_dtype": "float32",
    "target_modules": "all-linear",
    "micro_batch_size": 2,
}

AXOLOTL: dict[str, Settings] = {
    "sft": {
        **_AXOLOTL,
        "optim": "paged_adamw_8bit",
        "max_seq_len": 8192,
        "gradient_accumulation_steps": 8,
    },
    "lora": {
        **_AXOLOTL_LORA,
        "lora_r": 16,
        "lora_alpha": 32.0,
        "optim": "adamw_8bit",
        "max_seq_len": 2048,
        "gradient_accumulation_steps": 2,
    },
    "qlora": {
        **_AXOLOTL_LORA,
        "lora_r": 32,
        "lora_alpha": 16.0,
        "optim": "paged_adamw_32bit",
        "max_seq_len": 4096,
        "gradient_accumulation_steps": 4,
    },
}

# torchtune's single-device recipes for Llama 3.1 8B: recipes/configs/llama3_1/
# 8B_full_single_device.yaml, 8B_lora_single_device.yaml, 8B_qlora_single_device.yaml. All of it in
# bf16, adapters too; batches are padded, not packed. On several GPUs its recipes use FSDP (and, for
# full fine-tuning, fused AdamW with an ordinary backward).
_TORCHTUNE: Settings = {
    "gradient_checkpointing": True,
    "loss_kernel": "chunked",
    "micro_batch_size": 2,
    "padded": True,
    "sharding": "fsdp",
}
_TORCHTUNE_LORA: Settings = {
    **_TORCHTUNE,
    "lora_r": 8,
    "lora_alpha": 16.0,
    "lora_dropout": 0.0,
    "lora_dtype": "bfloat16",
    "target_modules": ["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "optim": "adamw_torch_fused",
    "gradient_accumulation_steps": 8,
}

TORCHTUNE: dict[str, Settings] = {
    "sft": {**_TORCHTUNE, "optim": "paged_adamw_8bit", "optimizer_in_backward": True},
    "lora": _TORCHTUNE_LORA,
    "qlora": {**_TORCHTUNE_LORA, "bnb_4bit_use_double_quant": True},
}

TRAINERS: dict[str, dict[str, Settings]] = {
    "training_hub": TRAINING_HUB,
    "trl": TRL,
    "unsloth": UNSLOTH,
    "axolotl": AXOLOTL,
    "torchtune": TORCHTUNE,
}


def targets(trainer: str, target_modules: Targets, model_type: str) -> Targets:
    """Return what is adapted: what is named, or what PEFT takes where a trainer leaves it to that.

    Examples
    --------
    >>> targets("trl", ["q_proj", "v_proj"], "gpt2"), targets("trl", "all-linear", "gpt2")
    (['c_attn'], 'all-linear')
    """
    if trainer == "trl" and target_modules == QUERY_AND_VALUE:
        return PEFT_TARGETS.get(model_type, QUERY_AND_VALUE)
    return target_modules


def leaves_open(trainer: str, target_modules: Targets, model_type: str) -> bool:
    """Return whether nobody says what is adapted: PEFT will refuse until somebody does.

    Examples
    --------
    >>> leaves_open("trl", ["q_proj", "v_proj"], "granite")
    True
    """
    return trainer == "trl" and target_modules == QUERY_AND_VALUE and model_type not in PEFT_TARGETS


def supports(trainer: str, training_method: str) -> bool:
    """Return whether `trainer` can run `training_method`.

    Examples
    --------
    >>> supports("training_hub", "osft"), supports("trl", "osft")
    (True, False)
    """
    return training_method in TRAINERS.get(trainer, {})


def able(training_method: str) -> list[str]:
    """Return the trainers that can run `training_method`.

    Examples
    --------
    >>> able("osft")
    ['training_hub']
    """
    return [trainer for trainer in TRAINERS if supports(trainer, training_method)]


def defaults(trainer: str, training_method: str) -> Settings:
    """Return the fields that `trainer` sets for `training_method`; empty where it cannot run it.

    Examples
    --------
    >>> defaults("training_hub", "sft")["param_dtype"]
    'float32'
    """
    return dict(TRAINERS.get(trainer, {}).get(training_method, {}))
