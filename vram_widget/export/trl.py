"""TRL: the fields of SFTConfig, LoraConfig and BitsAndBytesConfig (trl 1.16, transformers 5.23).

With `s` the settings, ``SFTTrainer(model=s["model"], args=SFTConfig(**s["SFTConfig"]),
train_dataset=..., peft_config=LoraConfig(**s["LoraConfig"]),
quantization_config=BitsAndBytesConfig(**s["BitsAndBytesConfig"]))``, started with
``accelerate launch`` and the arguments under ``accelerate``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..config import TrainingConfig
from ..config.choices import Choices
from ..errors import ConfigError, shown
from ..model import catalog
from ..trainers import SHARDS_PARAMETERS, TRAINERS
from ..trainers.trl import TRAINER
from . import deepspeed
from .draft import Draft
from .parsing import configuration
from .target import Target

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Fields of SFTConfig that take ours as they are.
ARGUMENTS = {
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "max_length": "max_seq_len",
    "num_train_epochs": "num_epochs",
    "optim": "optim",
    "gradient_checkpointing": "gradient_checkpointing",
    "activation_offloading": "offload_activations",
    "use_liger_kernel": "use_liger",
}

#: Fields of LoraConfig likewise.
LORA = {
    "r": "lora_r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "target_modules": "target_modules",
    "use_dora": "use_dora",
}

#: LoraConfig's own defaults (peft 0.21).
DEFAULTS = {"r": 8, "lora_alpha": 8, "lora_dropout": 0.0}

#: What 4-bit weights must be packed into for FSDP and ZeRO-3 to shard them: NF4 is packed into the
#: compute dtype, as PEFT's guides to FSDP and DeepSpeed have it. Accelerate does not shard others
#: (fsdp2_prepare_model in utils/fsdp_utils.py).
FLOATS = ("float16", "float32", "float64")

#: What `from_trl` reads.
READ = ("model", "SFTConfig", "LoraConfig", "BitsAndBytesConfig", "accelerate")

#: Keyword arguments of from_pretrained likewise.
LOADING = {"dtype": "param_dtype", "attn_implementation": "attn_implementation"}


def export(config: TrainingConfig) -> Draft:
    """Return the model, and the fields of each class that SFTTrainer takes."""
    draft = Draft(config, TRAINER)
    draft.model("model")
    draft.put("SFTConfig", _arguments(draft))
    if config.adapts:
        adapter = {**_taken(draft, LORA), "target_modules": _targets(config)}
        draft.put("LoraConfig", {"task_type": "CAUSAL_LM", "bias": "none", **adapter})
    if config.training_method == "qlora":
        _quantised(draft)
    if config.num_gpus > 1:
        launch = {"num_processes": config.num_gpus, "num_machines": config.num_nodes}
        draft.put("accelerate", launch, "num_gpus", "num_nodes")
    return draft.finish()


def _taken(draft: Draft, names: Mapping[str, str]) -> dict[str, Any]:
    draft.cover(*names.values())
    return {key: getattr(draft.config, field) for key, field in names.items()}


def _targets(config: TrainingConfig) -> str | list[str]:
    """Return the targets, PEFT's own by name where they are left to it and the model is known."""
    family = (catalog.lookup(config.model_path) or {}).get("model_type", "")
    return TRAINERS[config.trainer].target_modules(config.target_modules, family)


def _arguments(draft: Draft) -> dict[str, Any]:
    config = draft.config
    arguments = {"per_device_train_batch_size": draft.rows(), **_taken(draft, ARGUMENTS)}
    arguments["packing"] = not config.padded
    arguments["bf16"] = config.mixed_precision == "bf16"
    arguments["fp16"] = config.mixed_precision == "fp16"
    draft.cover("padded", "mixed_precision")
    arguments["model_init_kwargs"] = _taken(draft, LOADING)
    if not config.padded and config.attn_implementation != "flash_attention_2":
        draft.note(
            f"With {config.attn_implementation} TRL's packed samples attend to each other; "
            "with flash_attention_2 they do not."
        )
    if config.num_gpus > 1:
        arguments |= _sharding(draft)
    return arguments


def _sharding(draft: Draft) -> dict[str, Any]:
    config = draft.config
    if deepspeed.holds(config.sharding, config.cpu_offload):
        draft.cover("sharding", "cpu_offload")
        return {"deepspeed": deepspeed.write(config.sharding, config.cpu_offload)}
    if config.sharding not in ("fsdp", "hsdp"):
        return {}
    draft.cover("sharding")
    if config.sharding == "hsdp":
        draft.note("TRL shards over all GPUs: FSDP, hybrid (sharding) became FSDP.")
    options: dict[str, Any] = {"reshard_after_forward": True}
    if config.cpu_offload == "all":
        options["cpu_offload"] = True
        draft.cover("cpu_offload")
    return {"fsdp": True, "fsdp_config": options}


def _quantised(draft: Draft) -> None:
    config = draft.config
    if config.quantization == "nf4":
        half = "float16" if config.mixed_precision == "fp16" else "bfloat16"
        options = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": half,
            "bnb_4bit_use_double_quant": config.bnb_4bit_use_double_quant,
        }
        if config.num_gpus > 1 and config.sharding in SHARDS_PARAMETERS:
            options["bnb_4bit_quant_storage"] = half
        draft.put("BitsAndBytesConfig", options, "quantization", "bnb_4bit_use_double_quant")
    elif config.quantization == "int8":
        draft.put("BitsAndBytesConfig", {"load_in_8bit": True}, "quantization")
    else:
        draft.cover("quantization")
        draft.note(
            f"The checkpoint itself must be {config.quantization}; TRL has no setting for it."
        )


TARGET = Target.of(TRAINER, export)


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
