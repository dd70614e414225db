"""Read DeepSpeed's configuration (deepspeed 0.19.8): by itself, or as the trainers hand it on."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from ...config import TrainingConfig
from ...config.fields import real
from ...config.zero_optimization import AUTO, DEFAULTS, MOST
from ..deepspeed import STAGES
from . import source
from .reader import Reader
from .reading import Names, Reading, mapping
from .source import Source

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ...config.choices import Choices

PROGRAM = "DeepSpeed"

#: The stage that Accelerate's plugin fills in for ``"auto"`` (utils/dataclasses.py).
AUTO_STAGE = 2

#: optimizer.type -> ours. DeepSpeed's own Adam updates many weights in one kernel, as PyTorch's
#: fused one does (ops/adam/fused_adam.py), and its Lion likewise.
OPTIMIZERS = {"adam": "adamw_torch_fused", "adamw": "adamw_torch_fused", "lion": "lion_32bit"}

#: A size's older name -> its name.
OLDER = {
    "max_live_parameters": "stage3_max_live_parameters",
    "max_reuse_distance": "stage3_max_reuse_distance",
    "prefetch_bucket_size": "stage3_prefetch_bucket_size",
    "param_persistence_threshold": "stage3_param_persistence_threshold",
}

#: Weights of up to so many elements may stay gathered: norms and biases, some MiB in all.
SMALL_WEIGHT = 1_000_000


def from_deepspeed(settings: Source, **choices: Unpack[Choices]) -> TrainingConfig:
    """Return the configuration that transformers' Trainer runs with a DeepSpeed configuration.

    Parameters
    ----------
    settings : mapping, str or path
        DeepSpeed's configuration as a mapping or as JSON text, or the path of its file. What it
        leaves to the trainer by ``"auto"`` has TRL's defaults.
    **choices
        Fields that it does not hold, such as `model_path`, `gpu` and `num_gpus`; they win.

    Warns
    -----
    ReadingWarning
        Once, of all settings that are not counted.

    Raises
    ------
    ConfigError
        If it cannot be read, if no model is named, or for a value that cannot be.

    Examples
    --------
    >>> zero = {"zero_optimization": {"stage": 3}, "train_micro_batch_size_per_gpu": 4}
    >>> config = from_deepspeed(zero, model_path="m", num_gpus=8)
    >>> config.sharding, config.micro_batch_size
    ('zero3', 4)
    """
    reading = Reading(PROGRAM, source.opened(settings, PROGRAM), Names.of("deepspeed"))
    found = {"trainer": "trl", **read_into(reading), **_precision(reading), **_batch(reading)}
    if "num_gpus" not in choices and found["sharding"] != "ddp":
        reading.note(
            "too_much",
            "A DeepSpeed configuration does not say how many GPUs it shards over, and one is "
            "counted; give num_gpus",
            "num_gpus",
        )
    on_one_gpu(reading, found, choices)
    return reading.configuration(found, choices, "model_path")


def on_one_gpu(reading: Reading, found: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
    """Name ZeRO on one GPU: unless it offloads, it is counted as if it were not there."""
    fields = {**found, **choices}
    offloads = fields.get("cpu_offload", "none") != "none"
    if str(fields.get("sharding")) in STAGES and fields.get("num_gpus") == 1 and not offloads:
        reading.note(
            "unknown",
            "On one GPU DeepSpeed's own copies and buckets are not counted, but the Trainer's",
            "sharding",
        )


def beside(reading: Reading, written: object, key: str) -> dict[str, Any]:
    """Read the DeepSpeed configuration that a `key` of another program's settings holds.

    Parameters
    ----------
    reading : Reading
        The other program's settings, which account for these too.
    written : mapping, str or path
        The configuration, or the path of its file.
    key : str
        The key, for people.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    inner = reading.beside(opened(written), Names.of("deepspeed"), key)
    # the trainer has its own settings for these, and wants them equal
    inner.skip("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
    inner.skip("bf16", "fp16", "bfloat16")
    return read_into(inner)


def read_into(reading: Reading) -> dict[str, Any]:
    """Return the fields that a DeepSpeed configuration decides whoever runs it."""
    zero = reading.inside("zero_optimization")
    found: dict[str, Any] = {"sharding": _sharding(zero)}
    stage = STAGES.get(found["sharding"], 0)
    found |= _offload(zero, stage)
    found |= _sizes(zero, stage)
    _variants(reading, zero, stage)
    return found | _optimizer(reading)


def _sharding(zero: Reading) -> str:
    stage = zero.get("stage", 0)
    stages = {str(number): sharding for sharding, number in STAGES.items()}
    if stage is True or stage is False:  # how DeepSpeed had it before there were stages
        stage = int(stage)
    text = str(AUTO_STAGE) if stage == "auto" else str(stage)
    if text not in ("0", *stages):
        zero.uncounted("stage", "unknown", "ZeRO has the stages 0 to 3", "sharding")
    return stages.get(text, "ddp")


def _offload(zero: Reading, stage: int) -> dict[str, str]:
    on_host = {}
    for key, old in (("offload_param", "cpu_offload_param"), ("offload_optimizer", "cpu_offload")):
        written = zero.get(key)
        inner = zero.inside(key) if isinstance(written, Mapping) else None
        device = inner.get("device", "none") if inner else "none"
        on_host[key] = device not in ("none", None) or zero.get(old) is True
        if inner and on_host[key] and _number(inner.get("ratio", 1)) != 1:
            inner.uncounted("ratio", "too_little", "part of the states stays on the GPU")
    if not stage:
        return {}
    weights = on_host["offload_param"] and stage == 3  # stages 1 and 2 do not shard weights
    if on_host["offload_optimizer"]:
        return {"cpu_offload": "all" if weights else "optimizer"}
    return {"cpu_offload": "parameters" if weights else "none"}


def _sizes(zero: Reading, stage: int) -> dict[str, Any]:
    """Return the sizes that are other than DeepSpeed's own."""
    found: dict[str, int | str] = {}
    for key in (*OLDER, *DEFAULTS):
        if key not in zero:
            continue
        name, value = OLDER.get(key, key), zero.get(key)
        of_stage3 = name not in ("reduce_bucket_size", "allgather_bucket_size")
        if not stage or (of_stage3 and stage != 3):
            continue
        number = _number(value)
        if value == "auto":  # transformers fills some in, and leaves the others at their default
            if name in AUTO:
                found[name] = "auto"
        elif number is None or number < 0 or number != number or number > MOST:
            zero.uncounted(key, "unknown", f"{DEFAULTS[name]:,} elements are counted")
        else:
            found[name] = int(number)
    if found.get("reduce_bucket_size") == 0:
        del found["reduce_bucket_size"]
        zero.uncounted("reduce_bucket_size", "unknown", "a bucket has elements")
    threshold = found.get("stage3_param_persistence_threshold", 0)
    if isinstance(threshold, int) and threshold > SMALL_WEIGHT:
        key = "stage3_param_persistence_threshold"
        key = key if key in zero else "param_persistence_threshold"
        zero.uncounted(key, "too_little", "larger weights stay gathered")
    found = {name: size for name, size in found.items() if size != DEFAULTS[name]}
    return {"zero_optimization": found} if found else {}


def _variants(reading: Reading, zero: Reading, stage: int) -> None:
    """Name what runs ZeRO in another way than it is replayed."""
    if zero.get("overlap_comm") is True and stage in (1, 2):
        # setup_buckets in runtime/zero/stage_1_and_2.py
        zero.uncounted("overlap_comm", "too_little", "it has two reduce buckets, one is counted")
    if zero.get("contiguous_gradients") is False and stage in (1, 2):
        zero.uncounted("contiguous_gradients", "too_much", "there is no reduce bucket")
    for key in ("zero_hpz_partition_size", "mics_shard_size"):
        if (_number(zero.get(key)) or 0) > 1:
            zero.uncounted(
                key, "too_little", "weights are sharded over these GPUs, and over all is counted"
            )
    for key in ("tensor_parallel", "autotp_size"):
        inner = reading.inside(key) if isinstance(reading.get(key), Mapping) else reading
        size = inner.get("autotp_size", 0)
        if inner is not reading:
            inner.skip("tp", "tp_size", "enabled", "dtype", "tp_overlap_comm", "preset_model")
        if (_number(size) or 0) > 1 and "autotp_size" in inner:
            inner.uncounted("autotp_size", "too_much", "each product is split over several GPUs")


def _optimizer(reading: Reading) -> dict[str, str]:
    inner = reading.inside("optimizer")
    name = inner.get("type")
    if name is None:
        return {}
    kind = str(name).lower()
    if kind not in OPTIMIZERS:
        inner.uncounted("type", "unknown", "AdamW's states are counted", "optim")
        return {}
    params = inner.get("params")
    if kind != "lion" and isinstance(params, Mapping) and params.get("torch_adam") is True:
        return {"optim": "adamw_torch"}
    return {"optim": OPTIMIZERS[kind]}


def _precision(reading: Reading) -> dict[str, str]:
    """Return the precision that a configuration runs by itself, unless it is left open."""
    enabled = {}
    for key in ("bf16", "fp16"):
        inner = reading.inside("bfloat16" if key == "bf16" and "bfloat16" in reading else key)
        enabled[key] = inner.get("enabled", False)
    for key, value in enabled.items():
        if value is True:
            return {"mixed_precision": key}
    return {} if "auto" in enabled.values() else {"mixed_precision": "no"}


def _batch(reading: Reading) -> dict[str, Any]:
    names = {
        "train_micro_batch_size_per_gpu": "micro_batch_size",
        "gradient_accumulation_steps": "gradient_accumulation_steps",
    }
    found = {key: value for key, value in reading.fields(names).items() if value != "auto"}
    if reading.get("train_batch_size", "auto") != "auto" and len(found) < len(names):
        reading.uncounted(
            "train_batch_size",
            "unknown",
            "how it is shared out is not read; give micro_batch_size",
            "micro_batch_size",
        )
    return found


def _number(value: object) -> float | None:
    """Return a number, also one that is written as text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return real(value)


def read(deepspeed: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields that a DeepSpeed configuration decides."""
    return read_into(Reading(PROGRAM, deepspeed, Names.of("deepspeed")))


def opened(written: object) -> Mapping[str, Any]:
    """Return a DeepSpeed configuration, read from its JSON file where a path is given.

    Raises
    ------
    ConfigError
        If it is neither, or the file cannot be read.
    """
    if isinstance(written, (Mapping, str, PathLike)):
        return source.opened(written, PROGRAM)
    return mapping(written, "deepspeed")


def _recognises(settings: Mapping[str, Any]) -> bool:
    return "zero_optimization" in settings or "train_micro_batch_size_per_gpu" in settings


READER = Reader("deepspeed", PROGRAM, 60, _recognises, from_deepspeed)
