"""Read the fields of SFTConfig, LoraConfig and BitsAndBytesConfig (trl 1.16)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...config import TrainingConfig
from ...errors import ConfigError, shown
from ...trainers import SHARDS_PARAMETERS
from ..trl import ARGUMENTS, DEFAULTS, FLOATS, LOADING, LORA, READ
from . import deepspeed
from .parsing import configuration

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ...config.choices import Choices


def from_trl(settings: Mapping[str, Any], **choices: Unpack[Choices]) -> TrainingConfig:
    """Return the configuration that TRL runs with these settings.

    Parameters
    ----------
    settings : mapping
        As `export` gives them: ``model``, ``SFTConfig`` and, where used, ``LoraConfig``,
        ``BitsAndBytesConfig`` and ``accelerate``, each a mapping or the object itself. Settings
        without a bearing on memory or time are left aside.
    **choices
        Fields that the settings do not hold, such as `gpu`; they win.

    Raises
    ------
    ConfigError
        If no model is named, for settings that are not TRL's, or for a value that cannot be.

    Examples
    --------
    >>> config = from_trl({"model": "m", "SFTConfig": {"max_length": 512}, "LoraConfig": {"r": 4}})
    >>> config.training_method, config.lora_r, config.max_seq_len
    ('lora', 4, 512)
    """
    settings = _mapping(settings)
    for key in settings:
        if key not in READ:
            raise ConfigError(f"TRL's settings are {', '.join(READ)}; {shown(key)} is none.")
    arguments = _mapping(settings.get("SFTConfig"))
    adapter = _mapping(settings.get("LoraConfig"))
    quantised = _mapping(settings.get("BitsAndBytesConfig"))
    launch = _mapping(settings.get("accelerate"))
    found: dict[str, Any] = {"trainer": "trl", "training_method": "sft"}
    if "model" in settings:
        found["model_path"] = settings["model"]
    if settings.get("LoraConfig") is not None:
        found["training_method"] = "qlora" if quantised else "lora"
        found |= _renamed(LORA, {**DEFAULTS, **adapter})
    found |= _read_arguments(arguments)
    if quantised.get("load_in_8bit"):
        found["quantization"] = "int8"
    if quantised.get("load_in_4bit"):
        double = bool(quantised.get("bnb_4bit_use_double_quant", False))
        found["bnb_4bit_use_double_quant"] = double
        if found.get("sharding") in SHARDS_PARAMETERS and _stays_unsharded(quantised):
            warnings.warn(
                "FSDP and ZeRO-3 do not shard 4-bit weights that are packed into integers: set "
                'bnb_4bit_quant_storage="bfloat16", as is counted here.',
                stacklevel=2,
            )
    launched = {"num_gpus": "num_processes", "num_nodes": "num_machines"}
    found |= {field: launch[key] for field, key in launched.items() if key in launch}
    return configuration(found, choices, "model")


def _stays_unsharded(quantised: Mapping[str, Any]) -> bool:
    """Return whether 4-bit weights are packed into integers, as bitsandbytes does by default."""
    return not str(quantised.get("bnb_4bit_quant_storage") or "uint8").endswith(FLOATS)


def _read_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    found = _renamed(ARGUMENTS, arguments)
    found |= _renamed(LOADING, _mapping(arguments.get("model_init_kwargs")))
    if "per_device_train_batch_size" in arguments:
        found["micro_batch_size"] = arguments["per_device_train_batch_size"]
    if "packing" in arguments or "padding_free" in arguments:
        found["padded"] = not (arguments.get("packing") or arguments.get("padding_free"))
    if arguments.get("fp16"):
        found["mixed_precision"] = "fp16"
    elif arguments.get("bf16") is False:
        found["mixed_precision"] = "no"
    if arguments.get("fsdp"):
        found["sharding"] = "fsdp"
        if _mapping(arguments.get("fsdp_config")).get("cpu_offload"):
            found["cpu_offload"] = "all"
    if arguments.get("deepspeed"):
        found |= deepspeed.read(deepspeed.opened(arguments["deepspeed"]))
    return found


def _renamed(names: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return our fields for the target's keys, enums and dtypes as their names."""
    return {
        field: _name(settings[key]) for key, field in names.items() if settings.get(key) is not None
    }


def _name(value: Any) -> Any:
    value = getattr(value, "value", value)  # OptimizerNames
    return str(value).removeprefix("torch.") if type(value).__module__ == "torch" else value


def _mapping(settings: object) -> Mapping[str, Any]:
    if settings is None:
        return {}
    if isinstance(settings, Mapping):
        return settings
    if hasattr(settings, "to_dict"):
        return dict(settings.to_dict())
    raise ConfigError(
        f"Give TRL's settings as mappings or as its own objects, not {shown(settings)}."
    )
