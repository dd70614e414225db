"""Read Axolotl's YAML file (axolotl 0.19)."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config import TrainingConfig
from ...errors import ConfigError, shown
from ..axolotl import DEFAULTS, LORA, LOSSES, PRECISIONS, SAME
from . import deepspeed
from .parsing import configuration, mapping

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ...config.choices import Choices


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
