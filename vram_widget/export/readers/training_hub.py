"""Read the keywords of Training Hub's ``sft``, ``osft`` and ``lora_sft`` (training-hub 0.11).

The same names, with dashes or underscores, are the file of ``thub ... --config``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...config import TrainingConfig
from ...errors import ConfigError, shown
from ..training_hub import LORA, STRATEGIES, samples_per_pass
from . import commands
from .reader import Reader
from .reading import Names, Reading, count, word
from .source import Source, opened

PROGRAM = "Training Hub"

#: Keywords that take our field's value as it is.
SAME = ("model_path", "max_seq_len", "num_epochs", "use_liger", "unfreeze_rank_ratio")
SAME_IN_LORA = (
    "lora_alpha",
    "micro_batch_size",
    "target_modules",
    "use_dora",
    "bnb_4bit_use_double_quant",
)
#: Keywords of `lora_sft` alone.
OF_LORA = {"lora_r", "lora_alpha", "lora_dropout", "target_modules", "micro_batch_size"}
#: What the other functions do not look at.
ONLY_IN_LORA = ("gradient_accumulation_steps", "sample_packing", "bf16", "fp16")
ONLY_ELSEWHERE = ("max_tokens_per_gpu", "disable_flash_attn", "fsdp_options")


def from_training_hub(
    settings: Source, training_method: str | None = None, **choices: Any
) -> TrainingConfig:
    """Return the configuration that runs as a call of Training Hub with these keywords does.

    Parameters
    ----------
    settings : mapping, str or path
        The keywords of ``sft``, ``osft`` or ``lora_sft``, or a ``thub`` file: its content as a
        mapping or as YAML text, or its path.
    training_method : str, optional
        The method, where the keywords leave open whether it is ``sft`` or ``lora``.
    **choices
        Fields that the keywords do not hold, such as `gpu` or `tokens_per_sample`; they win.

    Warns
    -----
    ReadingWarning
        Once, of all that is not counted.

    Raises
    ------
    ConfigError
        If no model is named, for a value that cannot be, for GPUs that are only known on the
        machine that trains, or for another algorithm than those three.

    Examples
    --------
    >>> config = from_training_hub({"model_path": "m", "lora_r": 8, "load_in_4bit": True})
    >>> config.training_method, config.lora_r, config.micro_batch_size
    ('qlora', 8, 2)
    """
    written = opened(settings, PROGRAM)
    keywords = {str(key).replace("-", "_"): value for key, value in written.items()}
    reading = Reading(PROGRAM, keywords, Names.of("training_hub"))
    method = training_method or _method(reading)
    found: dict[str, Any] = {"training_method": method, "trainer": "training_hub"}
    if method in ("sft", "osft"):
        found["num_epochs"] = 1  # TrainingArgs of instructlab-training and of mini-trainer
    found |= reading.fields({field: field for field in SAME})
    nodes = count(reading.get("nnodes", 1), "nnodes")
    if nodes > 1:
        found["num_nodes"] = nodes
    if "nproc_per_node" in reading and "num_gpus" not in choices:
        found["num_gpus"] = nodes * _gpus_per_node(reading.get("nproc_per_node"))
    found |= _read_lora(reading) if method in ("lora", "qlora") else _read_packed(reading)
    if (
        found.get("sharding") == "device_map"
        and {"num_gpus": 1, **found, **choices}["num_gpus"] == 1
    ):
        why = "layers are spread over the GPUs there are: give num_gpus"
        reading.uncounted("enable_model_splitting", "too_much", why, "num_gpus")
    batch = reading.get("effective_batch_size")
    config = reading.configuration(found, choices, "model_path")
    return _with_accumulation(config, batch, choices)


def run(words: Sequence[str], choices: Mapping[str, Any]) -> TrainingConfig:
    """Return the configuration of the words that follow ``thub``.

    Raises
    ------
    ConfigError
        If they run another algorithm than those estimated here.
    """
    algorithm = words[0] if words else ""
    if algorithm not in ("sft", "osft", "lora-sft"):
        raise ConfigError(
            f"thub {shown(algorithm)} is not estimated here; thub sft, osft and lora-sft are."
        )
    keywords = commands.options(words[1:])[0]
    file = keywords.pop("config", None)
    written = {} if file is None else opened(str(file), PROGRAM)
    settings = {**{str(key).replace("-", "_"): each for key, each in written.items()}, **keywords}
    quantised = settings.get("load_in_4bit") or settings.get("load_in_8bit")
    method = ("qlora" if quantised else "lora") if algorithm == "lora-sft" else algorithm
    return from_training_hub(settings, **{"training_method": method, **choices})


def _method(reading: Reading) -> str:
    if "unfreeze_rank_ratio" in reading:
        return "osft"
    if reading.get("load_in_4bit") or reading.get("load_in_8bit"):
        return "qlora"
    return "lora" if any(key in reading for key in OF_LORA) else "sft"


def _gpus_per_node(processes: object) -> int:
    if isinstance(processes, int) or (isinstance(processes, str) and processes.isdecimal()):
        return int(processes)
    raise ConfigError(
        f"nproc_per_node={shown(processes)} is known only on the machine that trains; "
        "give num_gpus."
    )


def _read_packed(reading: Reading) -> dict[str, Any]:
    """Read what instructlab-training and mini-trainer take."""
    reading.skip(*ONLY_IN_LORA)
    found = {}
    # instructlab-training's own name for it: algorithms/sft.py
    tokens = reading.get("max_batch_len")
    if (tokens := reading.get("max_tokens_per_gpu", tokens)) is not None:
        found["max_tokens_per_gpu"] = tokens
    if reading.get("disable_flash_attn"):
        found["attn_implementation"] = "sdpa"
    if (dtype := reading.get("train_dtype")) is not None:  # of mini-trainer
        found["param_dtype"] = dtype
    if reading.get("distributed_backend") == "deepspeed":
        found["sharding"] = "zero2"  # get_ds_plugin in instructlab-training's accelerator.py
        if reading.inside("deepspeed_options").get("cpu_offload_optimizer"):
            found["cpu_offload"] = "optimizer"
        reading.skip("fsdp_options")
        return found
    reading.skip("deepspeed_options")
    options = reading.inside("fsdp_options")
    if "sharding_strategy" in options:
        names = {strategy: sharding for sharding, strategy in STRATEGIES.items()}
        strategy = options.get("sharding_strategy")
        found["sharding"] = word(strategy, names, strategy)
    if options.get("cpu_offload_params"):
        found["cpu_offload"] = "all"
    return found


def _read_lora(reading: Reading) -> dict[str, Any]:
    """Read what Unsloth and TRL take."""
    reading.skip(*ONLY_ELSEWHERE, "load_in_4bit", "bf16")
    found = reading.fields({**LORA, **{field: field for field in SAME_IN_LORA}})
    if reading.get("load_in_8bit"):
        found["quantization"] = "int8"
    if "sample_packing" in reading:
        found["padded"] = not reading.get("sample_packing")
    if reading.get("fp16"):
        found["mixed_precision"] = "fp16"
    elif reading.get("bf16") is False:
        why = "Unsloth chooses the precision by the model's dtype"
        reading.uncounted("bf16", "unknown", why, "mixed_precision")
    if str(reading.get("bnb_4bit_compute_dtype")).endswith("float32"):
        why = "weights are dequantised to twice the size"
        reading.uncounted("bnb_4bit_compute_dtype", "too_little", why)
    if reading.get("enable_model_splitting"):
        found["sharding"] = "device_map"
    rows = reading.get("per_device_eval_batch_size")
    if rows is not None and "eval_data_path" in reading and rows != found.get("micro_batch_size"):
        reading.uncounted("per_device_eval_batch_size", "unknown", "evaluation has another batch")
    return found


def _with_accumulation(
    config: TrainingConfig, batch: object, choices: Mapping[str, Any]
) -> TrainingConfig:
    """Return `config` with what an `effective_batch_size` means for each pass."""
    if batch is None:
        return config
    passes = count(batch, "effective_batch_size") / config.num_processes
    if config.adapts:
        rows = max(1, int(passes // config.gradient_accumulation_steps))
        return config.replace(**{"micro_batch_size": rows, **choices})
    steps = max(1, round(passes / samples_per_pass(config)))
    return config.replace(**{"gradient_accumulation_steps": steps, **choices})


def _recognises(settings: Mapping[str, Any]) -> bool:
    keys = {str(key).replace("-", "_") for key in settings}
    return "model_path" in keys and bool(
        keys & {"ckpt_output_dir", "data_path", "nproc_per_node", "max_tokens_per_gpu"}
    )


READER = Reader("training_hub", "Training Hub", 40, _recognises, from_training_hub, {"thub": run})
