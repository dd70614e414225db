"""Read the fields of TrainingArguments (transformers 5.23), which other trainers build on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from ...config import TrainingConfig
from ...config.uncounted import Effect
from ...errors import ConfigError, shown
from . import accelerate, deepspeed
from .reading import Reading

#: Fields that take our values as they are.
SAME = {
    "per_device_train_batch_size": "micro_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "num_train_epochs": "num_epochs",
}

#: OptimizerNames -> one of ours that holds the same: AdamW in one kernel by other libraries.
SAME_STATES = {
    "adamw_hf": "adamw_torch",
    "adamw_torch_xla": "adamw_torch",
    "adamw_apex_fused": "adamw_torch_fused",
    "adamw_torch_npu_fused": "adamw_torch_fused",
    "lion": "lion_32bit",
}

#: OptimizerNames -> what is counted in its place, and what that does. The start of a name stands
#: for all that begin so.
IN_PLACE: dict[str, tuple[str, Effect, str]] = {
    "adamw_anyprecision": ("adamw_torch", "too_much", "its states may be bfloat16"),
    "paged_lion_8bit": ("lion_8bit", "too_much", "its states may lie in the host's memory"),
    "paged_lion_32bit": ("lion_32bit", "too_much", "its states may lie in the host's memory"),
    "paged_ademamix": ("adamw_torch", "too_little", "it has a third state"),
    "ademamix": ("adamw_torch", "too_little", "it has a third state"),
    "adagrad": ("lion_32bit", "unknown", "Lion's one state is counted"),
    "rmsprop_bnb_8bit": ("lion_8bit", "unknown", "Lion's one state is counted"),
    "rmsprop": ("lion_32bit", "unknown", "Lion's one state is counted"),
    "galore_adafactor": ("adafactor", "too_much", "GaLore's states have a low rank"),
    "galore_adamw_8bit": ("adamw_8bit", "too_much", "GaLore's states have a low rank"),
    "galore": ("adamw_torch", "too_much", "GaLore's states have a low rank"),
    "apollo": ("adamw_torch", "too_much", "APOLLO's states have a low rank"),
    "lomo": ("sgd", "too_much", "LOMO updates weights as gradients come"),
    "adalomo": ("adafactor", "too_much", "AdaLOMO updates weights as gradients come"),
    "schedule_free_sgd": ("lion_32bit", "unknown", "one state is counted"),
    "schedule_free": ("adamw_torch", "unknown", "AdamW's two states are counted"),
    "grokadamw": ("adamw_torch", "too_little", "it has a third state"),
    "stable_adamw": ("adamw_torch", "unknown", "AdamW is counted"),
    "muon": ("adamw_torch", "too_much", "AdamW's two states are counted"),
}

#: What attention saves for backward is the same for all of these: queries, keys, values, the
#: output, and a float for each row.
FLASH = ("flash_attention", "flash-attn", "flash_attn")


def read(reading: Reading, folder: Path | None = None) -> dict[str, Any]:
    """Return the fields that TrainingArguments decide.

    Parameters
    ----------
    reading : Reading
        The arguments, by name.
    folder : path, optional
        Where their file is: paths in it may be seen from there.
    """
    found = reading.fields(SAME) | _precision(reading) | _checkpointing(reading)
    if "optim" in reading:
        found |= optimizer(reading, "optim")
    found |= _sharding(reading, folder)
    if "parallelism_config" in reading:
        found |= accelerate.parallelism(reading, reading.get("parallelism_config"))
    if isinstance(reading.get("accelerator_config"), Mapping):
        found |= accelerate.accumulation(reading)
    elif "accelerator_config" in reading:
        reading.uncounted("accelerator_config", "unknown", "it is not looked into")
    return found


def optimizer(reading: Reading, key: str) -> dict[str, str]:
    """Return our optimizer for one of OptimizerNames, and name what is counted in its place."""
    name = plain(reading.get(key))
    options = TrainingConfig.fields()["optim"].metadata["options"]
    if name in options if isinstance(name, str) else False:
        return {"optim": str(name)}
    word = str(name).lower()
    if word in SAME_STATES:
        return {"optim": SAME_STATES[word]}
    start = next((each for each in IN_PLACE if word.startswith(each)), None)
    if start is None:
        reading.uncounted(key, "unknown", "AdamW is counted", "optim")
        return {}
    ours, effect, why = IN_PLACE[start]
    reading.uncounted(key, effect, why, "optim")
    return {"optim": ours}


def attention(reading: Reading, key: str) -> dict[str, str]:
    """Return our attention for one of transformers', also for a kernel of the Hub."""
    name = str(plain(reading.get(key)))
    options = TrainingConfig.fields()["attn_implementation"].metadata["options"]
    if name in options:
        return {"attn_implementation": name}
    if any(each in name.lower() for each in FLASH):
        return {"attn_implementation": "flash_attention_2"}
    reading.uncounted(key, "unknown", "sdpa is counted", "attn_implementation")
    return {"attn_implementation": "sdpa"}


def evaluation(reading: Reading, rows: object) -> None:
    """Name an evaluation of more rows than the `rows` of a training pass."""
    strategy = plain(reading.get("eval_strategy", reading.get("evaluation_strategy", "no")))
    in_evaluation = reading.get("per_device_eval_batch_size", 8)
    if str(strategy).lower() in ("no", "false"):
        return
    if isinstance(in_evaluation, int) and isinstance(rows, int) and in_evaluation > rows:
        reading.note(
            "too_little",
            f"Evaluation (eval_strategy: {strategy}) takes {in_evaluation} sequences at a time, "
            f"training {rows}: it is not counted",
        )


def plain(value: Any) -> Any:
    """Return what stands for an enum or a dtype of PyTorch in a file."""
    value = getattr(value, "value", value)  # OptimizerNames
    return str(value).removeprefix("torch.") if type(value).__module__ == "torch" else value


def mapping_of(value: object, key: str) -> Mapping[str, Any]:
    """Return a mapping, also one that is written as JSON text.

    Raises
    ------
    ConfigError
        If it is none.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ConfigError(f"{key} is no JSON: {shown(value)}.") from None
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key} must be a mapping of settings, not {shown(value)}.")
    return value


def _precision(reading: Reading) -> dict[str, str]:
    if accelerate.switched(reading.get("fp16")):
        reading.skip("bf16")
        return {"mixed_precision": "fp16"}
    if "bf16" not in reading:
        return {}
    return {"mixed_precision": "bf16" if accelerate.switched(reading.get("bf16")) else "no"}


def _checkpointing(reading: Reading) -> dict[str, Any]:
    """Read whether layers run again in backward; the newer name wins."""
    found: dict[str, Any] = {}
    for name in ("gradient_checkpointing", "activation_checkpointing"):
        if name in reading:
            found["gradient_checkpointing"] = accelerate.switched(reading.get(name))
    for name in ("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"):
        written = reading.get(name)
        if isinstance(written, Mapping) and found.get("gradient_checkpointing", True):
            inner = reading.inside(name)
            if inner.get("every_n_layers", 1) != 1:
                inner.uncounted("every_n_layers", "too_little", "other layers keep what they save")
            if inner.get("offload"):
                found["offload_activations"] = True
            if "use_reentrant" in inner:
                found["use_reentrant"] = accelerate.switched(inner.get("use_reentrant"))
        elif isinstance(written, str):
            reading.uncounted(name, "unknown", "layers are run again in another way")
    return found


def _sharding(reading: Reading, folder: Path | None) -> dict[str, Any]:
    written, config = reading.get("fsdp"), reading.get("fsdp_config")
    found: dict[str, Any] = {}
    words = _words(reading, written)
    if words:
        if isinstance(config, (str, PathLike)) and not str(config).lstrip().startswith("{"):
            config, _ = accelerate.opened(_from(folder, config))
        options = {**_legacy(words), **mapping_of(config, "fsdp_config")}
        found |= accelerate.fsdp(reading, options, "fsdp_config", version=2)
    if written := reading.get("deepspeed"):
        if isinstance(written, (str, PathLike)):
            written = _from(folder, written)
        found |= deepspeed.beside(reading, written, "deepspeed")
    return found


def _words(reading: Reading, written: object) -> list[str]:
    truth = accelerate.switched(written, None)
    if truth is not None or written in (None, ""):
        return ["full_shard"] if truth else []
    words = written.split() if isinstance(written, str) else written
    if not isinstance(words, (list, tuple)):
        reading.uncounted("fsdp", "unknown", "full_shard is counted", "sharding")
        return ["full_shard"]
    return [str(plain(word)).lower() for word in words]


def _legacy(words: list[str]) -> dict[str, Any]:
    """Return what the words of `fsdp` mean in `fsdp_config`, which wins over them."""
    known = [word for word in words if word.upper() in accelerate.STRATEGIES]
    found: dict[str, Any] = {"reshard_after_forward": known[-1]} if known else {}
    return found | ({"cpu_offload": True} if "offload" in words else {})


def _from(folder: Path | None, path: str | PathLike[str]) -> str | PathLike[str]:
    """Return a path as seen from a file's folder, where it is there."""
    is_text = isinstance(path, str) and path.lstrip().startswith("{")
    if folder is not None and not is_text and (folder / path).is_file():
        return folder / path
    return path
