"""Read the keywords of Training Hub's ``sft``, ``osft`` and ``lora_sft`` (training-hub 0.11)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...config import TrainingConfig
from ...errors import ConfigError, shown
from ..training_hub import LORA, STRATEGIES, samples_per_pass
from .parsing import configuration, count, mapping, word


def from_training_hub(
    settings: Mapping[str, Any], training_method: str | None = None, **choices: Any
) -> TrainingConfig:
    """Return the configuration that runs as a call of Training Hub with these keywords does.

    Parameters
    ----------
    settings : mapping
        The keywords of ``sft``, ``osft`` or ``lora_sft``, or the content of a ``thub`` file.
        Those without a bearing on memory or time, such as `learning_rate`, are left aside.
    training_method : str, optional
        The method, where the keywords leave open whether it is ``sft`` or ``lora``.
    **choices
        Fields that the keywords do not hold, such as `gpu` or `tokens_per_sample`; they win.

    Raises
    ------
    ConfigError
        If no model is named, for a value that cannot be, or for GPUs that are only known on the
        machine that trains.

    Examples
    --------
    >>> config = from_training_hub({"model_path": "m", "lora_r": 8, "load_in_4bit": True})
    >>> config.training_method, config.lora_r, config.micro_batch_size
    ('qlora', 8, 2)
    """
    written = mapping(settings, "Training Hub's keyword arguments")
    keywords = {key: value for key, value in written.items() if value is not None}
    method = training_method or _method(keywords)
    found: dict[str, Any] = {"training_method": method, "trainer": "training_hub"}
    if method in ("sft", "osft"):
        found["num_epochs"] = 1  # TrainingArgs of instructlab-training and of mini-trainer
    for field in ("model_path", "max_seq_len", "num_epochs", "use_liger", "unfreeze_rank_ratio"):
        if field in keywords:
            found[field] = keywords[field]
    nodes = count(keywords.get("nnodes", 1), "nnodes")
    if nodes > 1:
        found["num_nodes"] = nodes
    if "nproc_per_node" in keywords and "num_gpus" not in choices:
        found["num_gpus"] = nodes * _gpus_per_node(keywords["nproc_per_node"])
    found |= _read_lora(keywords) if method in ("lora", "qlora") else _read_packed(keywords)
    config = configuration(found, choices, "model_path")
    return _with_accumulation(config, keywords, choices)


def _method(keywords: Mapping[str, Any]) -> str:
    if "unfreeze_rank_ratio" in keywords:
        return "osft"
    if keywords.get("load_in_4bit") or keywords.get("load_in_8bit"):
        return "qlora"
    of_lora = {"lora_r", "lora_alpha", "lora_dropout", "target_modules", "micro_batch_size"}
    return "lora" if of_lora & keywords.keys() else "sft"


def _gpus_per_node(processes: object) -> int:
    if isinstance(processes, int) or (isinstance(processes, str) and processes.isdecimal()):
        return int(processes)
    raise ConfigError(
        f"nproc_per_node={shown(processes)} is known only on the machine that trains; "
        "give num_gpus."
    )


def _read_packed(keywords: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    if "max_tokens_per_gpu" in keywords:
        found["max_tokens_per_gpu"] = keywords["max_tokens_per_gpu"]
    if keywords.get("disable_flash_attn"):
        found["attn_implementation"] = "sdpa"
    options = mapping(keywords.get("fsdp_options"), "fsdp_options")
    if "sharding_strategy" in options:
        names = {strategy: sharding for sharding, strategy in STRATEGIES.items()}
        strategy = options["sharding_strategy"]
        found["sharding"] = word(strategy, names, strategy)
    if options.get("cpu_offload_params"):
        found["cpu_offload"] = "all"
    return found


def _read_lora(keywords: Mapping[str, Any]) -> dict[str, Any]:
    found = {field: keywords[key] for key, field in LORA.items() if key in keywords}
    same = (
        "lora_alpha",
        "micro_batch_size",
        "target_modules",
        "use_dora",
        "bnb_4bit_use_double_quant",
    )
    found |= {field: keywords[field] for field in same if field in keywords}
    if keywords.get("load_in_8bit"):
        found["quantization"] = "int8"
    if "sample_packing" in keywords:
        found["padded"] = not keywords["sample_packing"]
    if keywords.get("fp16"):
        found["mixed_precision"] = "fp16"
    return found


def _with_accumulation(
    config: TrainingConfig, keywords: Mapping[str, Any], choices: Mapping[str, Any]
) -> TrainingConfig:
    """Return `config` with the batch that an `effective_batch_size` means for each pass."""
    if "effective_batch_size" not in keywords:
        return config
    passes = count(keywords["effective_batch_size"], "effective_batch_size") / config.num_gpus
    if config.adapts:
        rows = max(1, int(passes // config.gradient_accumulation_steps))
        return config.replace(**{"micro_batch_size": rows, **choices})
    steps = max(1, round(passes / samples_per_pass(config)))
    return config.replace(**{"gradient_accumulation_steps": steps, **choices})
