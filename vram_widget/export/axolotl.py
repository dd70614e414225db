"""Axolotl: the keys of its YAML file (axolotl 0.19).

What the configuration does not know is the caller's to add: `datasets`, `learning_rate`,
`output_dir`.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import TrainingConfig
from ..config.choices import Choices
from ..errors import ConfigError, shown
from ..trainers.axolotl import TRAINER
from . import deepspeed
from .draft import Draft
from .parsing import configuration, mapping
from .target import Target

if TYPE_CHECKING:
    from typing_extensions import Unpack

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

LIGER_PLUGIN = "axolotl.integrations.liger.LigerPlugin"
#: The plugin's keys for all of Liger's kernels, fused linear and loss among them.
LIGER = (
    "liger_rope",
    "liger_rms_norm",
    "liger_glu_activation",
    "liger_fused_linear_cross_entropy",
)
#: The key that stands for a loss kernel; `fused` and `liger` are the plugin's.
LOSSES = {
    "chunked": "chunked_cross_entropy",
    "fused": "liger_cross_entropy",
    "liger": "liger_fused_linear_cross_entropy",
}


def export(config: TrainingConfig) -> Draft:
    """Return the keys of the YAML file."""
    draft = Draft(config, TRAINER)
    draft.model("base_model")
    draft.same(SAME)
    draft.put("micro_batch_size", draft.rows())
    draft.put("sample_packing", not config.padded, "padded")
    draft.put("activation_offloading", config.offload_activations, "offload_activations")
    _precision(draft)
    _kernels(draft)
    if config.adapts:
        _adapter(draft)
    if config.num_gpus > 1:
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
    if not config.use_liger and config.loss_kernel in LOSSES:
        keys = (LOSSES[config.loss_kernel],)
    for key in keys:
        draft.put(key, True)
    if any(key.startswith("liger") for key in keys):
        draft.put("plugins", [LIGER_PLUGIN])
    draft.cover("use_liger", "loss_kernel")


def _adapter(draft: Draft) -> None:
    config = draft.config
    draft.same(LORA)
    draft.integer("lora_alpha", "lora_alpha")
    if config.target_modules == "all-linear":
        draft.put("lora_target_linear", True, "target_modules")
    else:
        draft.put("lora_target_modules", config.target_modules, "target_modules")
    if config.use_dora:
        draft.put("peft_use_dora", True, "use_dora")
    if config.lora_dtype == "bfloat16":
        draft.put("peft_autocast_adapter_dtype", False)
    draft.cover("lora_dtype")
    draft.put("adapter", "lora")
    if config.training_method == "lora":
        return
    draft.cover("quantization")
    if config.quantization == "nf4":
        draft.put("adapter", "qlora")
        draft.put("load_in_4bit", True)
        if not config.bnb_4bit_use_double_quant:
            draft.put("bnb_config_kwargs", {"bnb_4bit_use_double_quant": False})
        draft.cover("bnb_4bit_use_double_quant")
    elif config.quantization == "int8":
        draft.put("load_in_8bit", True)
    elif config.quantization == "gptq":
        draft.put("gptq", True)
    else:
        raise ConfigError(
            f"Axolotl does not train adapters on a {config.quantization} checkpoint; "
            "take quantization nf4, int8 or gptq."
        )


def _sharding(draft: Draft) -> None:
    config = draft.config
    if deepspeed.holds(config.sharding, config.cpu_offload):
        stage = deepspeed.write(config.sharding, config.cpu_offload)
        draft.put("deepspeed", stage, "sharding", "cpu_offload")
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


TARGET = Target.of(TRAINER, export, reads_yaml=True)


def from_axolotl(
    settings: Mapping[str, Any] | str | PathLike[str], **choices: Unpack[Choices]
) -> TrainingConfig:
    r"""Return the configuration that Axolotl runs with a file.

    Parameters
    ----------
    settings : mapping, str or path
        The file's content as a mapping or as YAML text, or the path of the file. Keys without a
        bearing on memory or time are left aside.
    **choices
        Fields that the file does not hold, such as `gpu` and `num_gpus`; they win.

    Raises
    ------
    ConfigError
        If it is no YAML mapping, names no model, or holds a value that cannot be.

    Examples
    --------
    >>> config = from_axolotl("base_model: m\nadapter: qlora\nload_in_4bit: true\nlora_r: 8")
    >>> config.training_method, config.lora_r
    ('qlora', 8)
    """
    written = {key: value for key, value in _opened(settings).items() if value is not None}
    options = {**DEFAULTS, **written}
    found: dict[str, Any] = {"trainer": "axolotl", "training_method": _method(options)}
    keys = {"base_model": "model_path", **SAME, **LORA, "lora_alpha": "lora_alpha"}
    found |= {field: options[key] for key, field in keys.items() if key in options}
    found["micro_batch_size"] = options["micro_batch_size"]
    found["padded"] = not options["sample_packing"]
    found["offload_activations"] = bool(options.get("activation_offloading"))
    if found.get("gradient_checkpointing") in ("offload", "offload_disk"):
        found |= {"gradient_checkpointing": True, "offload_activations": True}
    found |= _read_kernels(options) | _read_adapter(options) | _read_sharding(options)
    switched_on = [key for key in PRECISIONS if options.get(key)]
    precision = PRECISIONS[switched_on[0] if switched_on else "float32"]
    found |= dict(zip(("param_dtype", "mixed_precision"), precision, strict=True))
    return configuration(found, choices, "base_model")


def _opened(settings: Mapping[str, Any] | str | PathLike[str]) -> Mapping[str, Any]:
    if not isinstance(settings, (str, PathLike)):
        return mapping(settings, "An Axolotl file")
    import yaml

    try:
        is_text = isinstance(settings, str) and ("\n" in settings or ": " in settings)
        content = yaml.safe_load(settings if is_text else Path(settings).read_text("utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = shown(" ".join(str(error).split()))
        raise ConfigError(f"The Axolotl file cannot be read: {reason}") from None
    if not isinstance(content, Mapping):
        raise ConfigError("An Axolotl file is a YAML mapping of keys to values.")
    return content


def _method(options: Mapping[str, Any]) -> str:
    if options.get("adapter") not in ("lora", "qlora"):
        return "sft"
    quantised = any(options.get(key) for key in ("load_in_4bit", "load_in_8bit", "gptq"))
    if options["adapter"] == "qlora" and not quantised:  # schemas/peft.py refuses it too
        raise ConfigError("Axolotl's adapter: qlora needs load_in_4bit: true beside it.")
    return "qlora" if quantised else "lora"


def _read_kernels(options: Mapping[str, Any]) -> dict[str, Any]:
    if options.get("liger_rms_norm") and options.get("liger_fused_linear_cross_entropy"):
        return {"use_liger": True}
    losses = [loss for loss, key in LOSSES.items() if options.get(key)]
    return {"loss_kernel": losses[0]} if losses else {}


def _read_adapter(options: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if options.get("lora_target_linear"):
        found["target_modules"] = "all-linear"
    elif "lora_target_modules" in options:
        found["target_modules"] = options["lora_target_modules"]
    if options.get("peft_use_dora"):
        found["use_dora"] = True
    if options.get("peft_autocast_adapter_dtype") is False:
        found["lora_dtype"] = "bfloat16"
    if options.get("load_in_8bit"):
        found["quantization"] = "int8"
    elif options.get("gptq"):
        found["quantization"] = "gptq"
    bnb = mapping(options.get("bnb_config_kwargs"), "bnb_config_kwargs")
    if "bnb_4bit_use_double_quant" in bnb:
        found["bnb_4bit_use_double_quant"] = bnb["bnb_4bit_use_double_quant"]
    return found


def _read_sharding(options: Mapping[str, Any]) -> dict[str, Any]:
    if options.get("deepspeed"):
        return dict(deepspeed.read(deepspeed.opened(options["deepspeed"])))
    fsdp = mapping(options.get("fsdp_config"), "fsdp_config")
    if not fsdp:
        return {}
    found = {"sharding": "hsdp" if "dp_replicate_size" in options else "fsdp"}
    if fsdp.get("offload_params", fsdp.get("fsdp_offload_params")):
        found["cpu_offload"] = "all"
    return found
