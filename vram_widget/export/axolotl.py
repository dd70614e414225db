"""Axolotl: the keys of its YAML file (axolotl 0.19).

What the configuration does not know is the caller's to add: `datasets`, `learning_rate`,
`output_dir`.
"""

from __future__ import annotations

import re
from typing import Any

from ..config import TrainingConfig
from ..errors import ConfigError
from ..trainers.axolotl import TRAINER
from . import deepspeed
from .draft import SYNC_EACH_BATCH, Draft
from .target import Target

#: Keys that take our field's value as it is.
SAME = {
    "sequence_len": "max_seq_len",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "num_epochs": "num_epochs",
    "optimizer": "optim",
    "gradient_checkpointing": "gradient_checkpointing",
    "attn_implementation": "attn_implementation",
}
LORA = {"lora_r": "lora_r", "lora_dropout": "lora_dropout"}

#: The key that stands for stored weights and autocast together (resolve_dtype in utils/config).
PRECISIONS = {
    "bf16": ("bfloat16", "bf16"),
    "bfloat16": ("bfloat16", "no"),
    "fp16": ("float16", "fp16"),
    "float16": ("float16", "no"),
    "float32": ("float32", "no"),
}

#: What Axolotl does where a file says nothing (utils/schemas); it has no rank of its own.
DEFAULTS: dict[str, Any] = {
    "sequence_len": 512,
    "micro_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "num_epochs": 1.0,
    "optimizer": "adamw_torch_fused",
    "gradient_checkpointing": False,
    "attn_implementation": "sdpa",
    "sample_packing": False,
    "bf16": "auto",
    "lora_dropout": 0.0,
}

#: A plugin, and how the keys begin that it reads.
PLUGINS = {
    "axolotl.integrations.liger.LigerPlugin": "liger_",
    "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin": "cut_cross_entropy",
}
#: The plugin's keys for all of Liger's kernels, fused linear and loss among them.
LIGER = (
    "liger_rope",
    "liger_rms_norm",
    "liger_glu_activation",
    "liger_fused_linear_cross_entropy",
)
#: The class that loads a checkpoint which is quantised so (utils/schemas/model.py).
CHECKPOINTS = {"mxfp4": "Mxfp4Config", "fp8": "FineGrainedFP8Config"}

#: The key that stands for a loss kernel; all but `chunked` are a plugin's.
LOSSES = {
    "chunked": "chunked_cross_entropy",
    "fused": "liger_cross_entropy",
    "liger": "liger_fused_linear_cross_entropy",
    "cut": "cut_cross_entropy",
}


def export(config: TrainingConfig) -> Draft:
    """Return the keys of the YAML file."""
    draft = Draft(config, TRAINER)
    draft.model("base_model")
    draft.same(SAME)
    draft.put("micro_batch_size", draft.rows())
    draft.put("sample_packing", not config.padded, "padded")
    # "hidden_states" are the checkpointed inputs; true, with an adapter, is all that is saved
    offload = (
        "hidden_states" if config.gradient_checkpointing and config.offload_activations else False
    )
    draft.put("activation_offloading", offload, "offload_activations")
    if config.gradient_checkpointing and not config.use_reentrant:
        draft.put("gradient_checkpointing_kwargs", {"use_reentrant": False}, "use_reentrant")
    _precision(draft)
    _kernels(draft)
    if config.adapts:
        _adapter(draft)
    elif config.trainable_parameters:
        _unfrozen(draft)
    if config.sync_each_batch:
        draft.put("accelerator_config", SYNC_EACH_BATCH, "sync_each_batch")
    if config.num_gpus > config.num_processes:
        draft.put("device_map", "balanced", "sharding")
        draft.cover("num_gpus", "num_nodes")
        draft.note(
            f"Start it as one process on {config.num_gpus} GPUs, with "
            "axolotl train FILE --launcher python."
        )
    elif config.num_gpus > 1:
        _sharding(draft)
        draft.cover("num_gpus", "num_nodes")
        draft.note(
            f"The file does not say how many GPUs: start it on {config.num_gpus}, with "
            f"axolotl train FILE --launcher torchrun -- --nnodes {config.num_nodes} "
            f"--nproc-per-node {config.num_gpus // config.num_nodes}."
        )
    return draft.finish()


def _precision(draft: Draft) -> None:
    wanted = (draft.config.param_dtype, draft.config.mixed_precision)
    for key, precision in PRECISIONS.items():
        if precision == wanted:
            draft.cover("param_dtype", "mixed_precision")
            draft.put(key, True)
            if key != "bf16":
                draft.put("bf16", False)  # it is "auto" by default
            return
    draft.put("bf16", True)


def _kernels(draft: Draft) -> None:
    config = draft.config
    keys: tuple[str, ...] = LIGER if config.use_liger else ()
    if config.loss_kernel == "cut":
        keys = (*keys[:-1], LOSSES["cut"])  # one plugin for the norms, another for the loss
    elif not config.use_liger and config.loss_kernel in LOSSES:
        keys = (LOSSES[config.loss_kernel],)
    for key in keys:
        draft.put(key, True)
    plugins = [name for name, start in PLUGINS.items() if any(k.startswith(start) for k in keys)]
    if plugins:
        draft.put("plugins", plugins)
    draft.cover("use_liger", "loss_kernel")


def _adapter(draft: Draft) -> None:
    config = draft.config
    draft.same(LORA)
    draft.integer("lora_alpha", "lora_alpha")
    if config.target_modules == "all-linear":
        draft.put("lora_target_linear", True, "target_modules")
    else:
        draft.put("lora_target_modules", config.target_modules, "target_modules")
    if config.modules_to_save:
        draft.put("lora_modules_to_save", config.modules_to_save, "modules_to_save")
    if config.target_parameters:
        draft.put("lora_target_parameters", config.target_parameters, "target_parameters")
    draft.tokens("peft_trainable_token_indices")
    if config.use_dora:
        draft.put("peft_use_dora", True, "use_dora")
    if config.lora_dtype == "bfloat16":
        draft.put("peft_autocast_adapter_dtype", False)
    draft.cover("lora_dtype")
    draft.put("adapter", "lora")
    if config.training_method == "lora":
        return
    draft.cover("quantization")
    quantises = config.quantize_moe_experts and config.quantization in ("nf4", "int8")
    if quantises and config.target_modules == "all-linear":
        draft.cover("quantize_moe_experts")
        draft.note(
            "Axolotl's quantize_moe_experts does not go with all linears as targets, and is left "
            "out: name the modules to quantise fused experts."
        )
    elif quantises:
        draft.put("quantize_moe_experts", True, "quantize_moe_experts")
    if config.quantization == "nf4":
        draft.put("adapter", "qlora")
        draft.put("load_in_4bit", True)
        options: dict[str, Any] = {}
        if not config.bnb_4bit_use_double_quant:
            options["bnb_4bit_use_double_quant"] = False
        if config.bnb_4bit_quant_storage != "bfloat16":
            options["bnb_4bit_quant_storage"] = config.bnb_4bit_quant_storage
        if options:
            draft.put("bnb_config_kwargs", options)
        draft.cover("bnb_4bit_use_double_quant", "bnb_4bit_quant_storage")
    elif config.quantization == "int8":
        draft.put("load_in_8bit", True)
    elif config.quantization == "gptq":
        draft.put("gptq", True)
    elif config.quantization in CHECKPOINTS:
        draft.put("model_quantization_config", CHECKPOINTS[config.quantization])
    else:
        raise ConfigError(
            f"Axolotl does not train adapters on a {config.quantization} checkpoint; "
            "take quantization nf4, int8, gptq, fp8 or mxfp4."
        )


def _unfrozen(draft: Draft) -> None:
    """Write what trains as Axolotl's patterns, where it has them for every expression."""
    patterns = [_patterns(expression) for expression in draft.config.trainable_parameters or []]
    if all(patterns):
        written = [pattern for each in patterns for pattern in each]
        draft.put("unfrozen_parameters", written, "trainable_parameters")


def _patterns(expression: str) -> list[str]:
    r"""Return what matches the names that `expression` is in: from their start, each dot itself.

    Nothing where a dot stands for any letter, as only one before a plus does (utils/freeze.py), or
    where rows seem to follow in brackets.

    Examples
    --------
    >>> _patterns(r"^lm_head\."), _patterns(r"mlp\.(up|down)"), _patterns("q.proj")
    (['lm_head.'], ['mlp.(up|down)', '.+mlp.(up|down)'], [])
    """
    if re.search(r"(?<!\\)\.(?!\+)|\[[\d:]*\]$", expression):
        return []
    pattern = re.sub(r"\\\.(?!\+)", ".", expression)
    group = re.fullmatch(r"\^\(\?:(.*)\)", pattern)
    if group and _is_balanced(group[1]):
        return [group[1]]
    if "|" in re.sub(r"\([^()]*\)", "", pattern):
        return [] if "^" in pattern else [f"(?:{pattern})", f".+(?:{pattern})"]
    return [pattern[1:]] if pattern.startswith("^") else [pattern, f".+{pattern}"]


def _is_balanced(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _sharding(draft: Draft) -> None:
    config = draft.config
    if deepspeed.holds(config.sharding, config.cpu_offload):
        stage = deepspeed.write(config)
        draft.put("deepspeed", stage, "sharding", "cpu_offload", "zero_optimization")
    elif config.sharding in ("fsdp", "hsdp"):
        if config.optim in ("adamw_8bit", "adamw_bnb_8bit"):  # validation.py refuses it
            raise ConfigError(
                f"Axolotl's FSDP cannot run {config.optim}: take optim='adamw_torch_fused', or "
                "sharding='ddp'."
            )
        if config.sharding == "hsdp":
            draft.put("dp_shard_size", config.num_gpus // config.num_nodes)
            draft.put("dp_replicate_size", config.num_nodes)
        options: dict[str, Any] = {
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "reshard_after_forward": True,
        }
        if config.cpu_offload == "all":
            options["offload_params"] = True
            draft.cover("cpu_offload")
        draft.put("fsdp_version", 2)
        draft.put("fsdp_config", options, "sharding")


TARGET = Target.of(TRAINER, export, language="yaml")
