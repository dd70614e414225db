"""LLaMA-Factory: the keys of its YAML file (llamafactory 0.9.5).

What the configuration does not know is the caller's to add: `dataset`, `template`, `learning_rate`,
`output_dir`.
"""

from __future__ import annotations

from ..config import TrainingConfig
from ..errors import ConfigError
from ..trainers.llamafactory import TRAINER
from . import deepspeed
from .draft import SYNC_EACH_BATCH, Draft
from .target import Target

#: Keys that take our field's value as it is.
SAME = {
    "cutoff_len": "max_seq_len",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "num_train_epochs": "num_epochs",
    "optim": "optim",
    "enable_liger_kernel": "use_liger",
}
LORA = {"lora_rank": "lora_r", "lora_dropout": "lora_dropout", "use_dora": "use_dora"}

#: AttentionFunction in extras/constants.py.
ATTENTION = {"eager": "disabled", "sdpa": "sdpa", "flash_attention_2": "fa2"}

#: The key for the dtypes of what trains and of autocast; nothing where both are float32.
PRECISIONS = {
    ("float32", "bf16"): "bf16",
    ("float32", "fp16"): "fp16",
    ("bfloat16", "no"): "pure_bf16",
    ("float32", "no"): "",
}

#: What bitsandbytes quantises while loading, and to how many bits.
BITS = {"nf4": 4, "int8": 8}


def export(config: TrainingConfig) -> Draft:
    """Return the keys of the YAML file."""
    draft = Draft(config, TRAINER)
    draft.model("model_name_or_path", "model_revision")
    draft.settings |= {"stage": "sft", "do_train": True}
    draft.put("finetuning_type", "lora" if config.adapts else "full")
    draft.same(SAME)
    draft.put("per_device_train_batch_size", draft.rows())
    draft.put("flash_attn", ATTENTION[config.attn_implementation], "attn_implementation")
    if config.use_liger:
        draft.cover("loss_kernel")
    _precision(draft)
    _packing(draft)
    _checkpointing(draft)
    if config.adapts:
        _adapter(draft)
    if config.training_method == "qlora":
        _quantised(draft)
    if config.num_gpus > 1:
        _sharding(draft)
        draft.cover("num_gpus", "num_nodes")
        draft.note(
            f"The file does not say how many GPUs: start it with FORCE_TORCHRUN=1 "
            f"NNODES={config.num_nodes} NPROC_PER_NODE={config.num_gpus // config.num_nodes} "
            "llamafactory-cli train FILE."
        )
    return draft.finish()


def _precision(draft: Draft) -> None:
    """Write how what trains is stored and run; what is frozen has the checkpoint's dtype."""
    config = draft.config
    stored = "float32" if config.adapts else config.param_dtype
    key = PRECISIONS.get((stored, config.mixed_precision))
    if key is None:
        draft.put("bf16", True)
        return
    draft.cover("mixed_precision")
    if not config.adapts:
        draft.cover("param_dtype")
    if key:
        draft.put(key, True)


def _packing(draft: Draft) -> None:
    config = draft.config
    draft.cover("padded")
    if config.padded:
        return
    draft.put("packing", True)
    if config.attn_implementation == "flash_attention_2":
        draft.put("neat_packing", True)
    else:
        draft.note(
            f"With {config.attn_implementation} packed samples attend to each other; neat_packing "
            "prevents that with a mask of length x length."
        )


def _checkpointing(draft: Draft) -> None:
    config = draft.config
    draft.cover("gradient_checkpointing")
    if not config.gradient_checkpointing:
        draft.put("disable_gradient_checkpointing", True)
    elif config.offload_activations:
        draft.put("use_unsloth_gc", True, "offload_activations")
    elif not config.use_reentrant:
        draft.put("use_reentrant_gc", False, "use_reentrant")


def _adapter(draft: Draft) -> None:
    config = draft.config
    draft.same(LORA)
    draft.integer("lora_alpha", "lora_alpha")
    if isinstance(config.target_modules, list):
        draft.put("lora_target", ",".join(config.target_modules), "target_modules")
    else:
        draft.put("lora_target", "all")
    if config.target_modules == "all-linear":
        draft.cover("target_modules")
    if config.modules_to_save:
        draft.put("additional_target", ",".join(config.modules_to_save), "modules_to_save")


def _quantised(draft: Draft) -> None:
    config = draft.config
    draft.cover("quantization")
    several = config.num_gpus > 1
    if several and not TRAINER.can_shard(config.quantization, config.sharding):
        raise ConfigError(
            f"LLaMA-Factory shards no {config.quantization} base; take quantization nf4, or "
            "sharding='ddp'."
        )
    if config.quantization in BITS:
        draft.put("quantization_bit", BITS[config.quantization])
    else:
        draft.note(f"The checkpoint itself must be {config.quantization}; there is no key for it.")
        if config.use_dora:  # model/adapter.py refuses it too
            raise ConfigError("LLaMA-Factory's DoRA takes no base but nf4 and int8.")
    if config.quantization == "nf4":
        draft.same({"double_quantization": "bnb_4bit_use_double_quant"})


def _sharding(draft: Draft) -> None:
    config = draft.config
    if config.sync_each_batch:
        draft.put("accelerator_config", SYNC_EACH_BATCH, "sync_each_batch")
    if deepspeed.holds(config.sharding, config.cpu_offload):
        stage = deepspeed.write(config)
        draft.put("deepspeed", stage, "sharding", "cpu_offload", "zero_optimization")
    elif config.sharding in ("fsdp", "hsdp"):
        options = "full_shard auto_wrap"
        if config.cpu_offload == "all":
            options += " offload"
            draft.cover("cpu_offload")
        draft.put("fsdp", options, "sharding")
        draft.put("fsdp_config", {"fsdp_version": 2, "reshard_after_forward": True})
        draft.put("use_reentrant_gc", False)  # FSDP2 cannot run with it
        if config.gradient_checkpointing and config.use_reentrant:
            draft.cover("use_reentrant")
            draft.note("FSDP2 does not run with re-entrant checkpoints: use_reentrant_gc is false.")
        if config.sharding == "hsdp":
            draft.note("LLaMA-Factory shards over all GPUs: FSDP, hybrid (sharding) became FSDP.")


TARGET = Target.of(TRAINER, export, language="yaml")
