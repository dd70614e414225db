"""Training Hub: the keywords of ``sft``, ``osft`` and ``lora_sft`` (training-hub 0.11).

The same names, as flat YAML, are a file for ``thub sft | osft | lora-sft --config``. What the
configuration does not know is the caller's to add: `data_path`, `ckpt_output_dir`, `learning_rate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import TrainingConfig
from ..errors import ConfigError, shown
from ..trainers.training_hub import TRAINER
from .draft import Draft
from .parsing import configuration, count, mapping, word
from .target import Target

#: The function of training_hub that runs a method.
FUNCTIONS = {"sft": "sft", "osft": "osft", "lora": "lora_sft", "qlora": "lora_sft"}

#: FSDP's name for each sharding: ShardingStrategies in instructlab/training/config.py.
STRATEGIES = {
    "hsdp": "HYBRID_SHARD",
    "fsdp": "FULL_SHARD",
    "zero2": "SHARD_GRAD_OP",
    "ddp": "NO_SHARD",
}

#: Keywords of lora_sft that take our field's value as it is.
LORA = {
    "lora_r": "lora_r",
    "lora_dropout": "lora_dropout",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
}


def export(config: TrainingConfig) -> Draft:
    """Return the keywords of the function that runs the configuration's method."""
    draft = Draft(config, TRAINER)
    draft.model("model_path")
    draft.same({"max_seq_len": "max_seq_len"})
    draft.integer("num_epochs", "num_epochs")
    draft.put("nproc_per_node", config.num_gpus // config.num_nodes, "num_gpus")
    draft.put("nnodes", config.num_nodes, "num_nodes")
    if config.training_method == "sft":
        _packed(draft)
        _sft(draft)
    elif config.training_method == "osft":
        _packed(draft)
        _osft(draft)
    else:
        _lora(draft)
    return draft.finish()


def _samples_per_pass(config: TrainingConfig) -> int:
    """Return how many samples of average length fill one GPU's pass."""
    return max(1, int(config.tokens // config.tokens_per_sample))


def _packed(draft: Draft) -> None:
    """Write the batch of the trainers that pack samples up to a number of tokens."""
    config = draft.config
    draft.put("max_tokens_per_gpu", config.tokens, "max_tokens_per_gpu", "micro_batch_size")
    samples = _samples_per_pass(config) * config.num_gpus * config.gradient_accumulation_steps
    draft.put("effective_batch_size", samples, "gradient_accumulation_steps")
    if config.use_liger:
        draft.put("use_liger", True, "use_liger", "loss_kernel")


def _sft(draft: Draft) -> None:
    config = draft.config
    if config.attn_implementation == "sdpa":  # transformers' choice without flash-attention
        draft.put("disable_flash_attn", True, "attn_implementation")
    options: dict[str, object] = {}
    if config.num_gpus > 1:
        options["sharding_strategy"] = STRATEGIES.get(config.sharding, STRATEGIES["hsdp"])
        if config.sharding in STRATEGIES:
            draft.cover("sharding")
    if config.cpu_offload == "all":
        options["cpu_offload_params"] = True
        draft.cover("cpu_offload")
    if options:
        draft.put("fsdp_options", options)


def _osft(draft: Draft) -> None:
    draft.put("unfreeze_rank_ratio", draft.config.unfreeze_rank_ratio, "unfreeze_rank_ratio")
    if draft.config.unfreeze_rank_ratio == 1:
        draft.note("Training Hub takes unfreeze_rank_ratio 1.0 as 0.5; sft trains every direction.")


def _lora(draft: Draft) -> None:
    config = draft.config
    draft.same(LORA)
    draft.integer("lora_alpha", "lora_alpha")
    draft.put("micro_batch_size", draft.rows())
    draft.put("sample_packing", not config.padded, "padded")
    if isinstance(config.target_modules, list):
        draft.put("target_modules", config.target_modules, "target_modules")
    if config.use_dora:
        draft.put("use_dora", True, "use_dora")
    draft.put("bf16", config.mixed_precision != "fp16")
    draft.put("fp16", config.mixed_precision == "fp16")
    if config.mixed_precision == "fp16":
        draft.cover("mixed_precision")
    if config.training_method == "qlora":
        _quantised(draft)
    if config.num_gpus > 1:
        draft.note(
            "lora_sft does not start its own processes: run it under torchrun, one for each GPU."
        )


def _quantised(draft: Draft) -> None:
    config = draft.config
    if config.quantization == "nf4":
        draft.put("load_in_4bit", True, "quantization")
        draft.put("bnb_4bit_quant_type", "nf4")
        draft.put("bnb_4bit_compute_dtype", "bfloat16")
        draft.same({"bnb_4bit_use_double_quant": "bnb_4bit_use_double_quant"})
    elif config.quantization == "int8":
        draft.put("load_in_8bit", True, "quantization")
    else:
        raise ConfigError(
            f"lora_sft quantises to nf4 or int8 by itself; it does not train on a "
            f"{config.quantization} checkpoint."
        )


TARGET = Target.of(TRAINER, export)


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
    steps = max(1, round(passes / _samples_per_pass(config)))
    return config.replace(**{"gradient_accumulation_steps": steps, **choices})
