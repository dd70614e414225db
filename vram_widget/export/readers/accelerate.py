"""Read Accelerate's configuration file and the arguments of its launcher (accelerate 1.15)."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from ...errors import ConfigError, shown
from . import deepspeed, source
from .reading import Names, Reading, count, mapping

PROGRAM = "Accelerate"

#: distributed_type -> the kind of run it makes, where that is not one on NVIDIA's GPUs.
ELSEWHERE = {
    "XLA": "a run on TPUs",
    "TPU": "a run on TPUs",
    "MULTI_CPU": "a run on CPUs",
    "MULTI_HPU": "a run on Gaudi",
    "MULTI_MLU": "a run on MLUs",
    "MULTI_MUSA": "a run on Moore Threads' GPUs",
    "MULTI_NEURON": "a run on Trainium",
    "MULTI_NPU": "a run on NPUs",
    "MULTI_SDAA": "a run on SDAAs",
    "MULTI_XPU": "a run on Intel's GPUs",
    "MEGATRON_LM": "a run of Megatron-LM",
}

#: Sizes of parallelism_config beside data parallelism, and what is split.
SPLIT = {
    "tp_size": "each product is split over several GPUs",
    "cp_size": "each sequence is split over several GPUs",
    "sp_size": "each sequence is split over several GPUs",
}

#: sharding_strategy of FSDP1 -> ours; FSDP2 has a truth value in its place.
STRATEGIES = {
    "FULL_SHARD": "fsdp",
    "SHARD_GRAD_OP": "fsdp",
    "NO_SHARD": "ddp",
    "HYBRID_SHARD": "hsdp",
    "HYBRID_SHARD_ZERO2": "hsdp",
}
#: How FSDP1's launcher numbers them.
NUMBERS = dict(enumerate(STRATEGIES, start=1))

#: The launcher's arguments that belong to a mapping of the file, by how they begin.
SECTIONS = {
    "fsdp_": "fsdp_config",
    "zero": "deepspeed_config",
    "offload_": "deepspeed_config",
    "deepspeed_": "deepspeed_config",
    "parallelism_config_": "parallelism_config",
    "dynamo_": "dynamo_config",
    "fp8_": "fp8_config",
    "megatron_lm_": "megatron_lm_config",
    "mpirun_": "mpirun_config",
}

#: The launcher's arguments that take no value (commands/launch.py).
SWITCHES = frozenset(
    (
        "quiet",
        "cpu",
        "multi_gpu",
        "tpu",
        "enable_cpu_affinity",
        "use_deepspeed",
        "use_fsdp",
        "use_parallelism_config",
        "use_megatron_lm",
        "same_network",
        "module",
        "m",
        "no_python",
        "tpu_cluster",
        "no_tpu_cluster",
        "tpu_use_sudo",
        "downcast_bf16",
        "debug",
        "dynamo_use_fullgraph",
        "dynamo_use_dynamic",
        "dynamo_use_regional_compilation",
        "fp8_use_autocast_during_eval",
    )
)

#: Its other arguments by name, beside those of `SECTIONS`.
ARGUMENTS = frozenset(
    (
        "config_file",
        "mixed_precision",
        "num_processes",
        "num_machines",
        "num_cpu_threads_per_process",
        "gpu_ids",
        "machine_rank",
        "main_process_ip",
        "main_process_port",
        "log_dir",
        "role",
        "rdzv_backend",
        "rdzv_conf",
        "max_restarts",
        "monitor_interval",
        "vm",
        "env",
        "main_training_function",
        "aws_access_key_id",
        "aws_secret_access_key",
        "t",
        "tee",
        "use_cpu",
        "distributed_type",
    )
)


def opened(written: object) -> tuple[Mapping[str, Any], Path | None]:
    """Return the content of a file or what was given in its place, and the file's folder.

    Raises
    ------
    ConfigError
        If it is no mapping, or cannot be read.
    """
    if isinstance(written, (str, PathLike)):
        is_file = isinstance(written, PathLike) or not source.is_text(written)
        folder = Path(written).parent if is_file else None
        return source.opened(written, PROGRAM), folder
    return mapping(written, "accelerate"), None


def launched(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the launcher's arguments as its configuration file has them.

    Examples
    --------
    >>> launched({"num_processes": 8, "zero_stage": 3, "use_deepspeed": True})
    {'num_processes': 8, 'use_deepspeed': True, 'deepspeed_config': {'zero_stage': 3}}
    """
    found = {key: each for key, each in arguments.items() if section(key) is None}
    for key, value in arguments.items():
        if name := section(key):
            found.setdefault(name, {})[key] = value
    return found


def section(argument: str) -> str | None:
    """Return the mapping of the file that an argument of the launcher belongs to."""
    if argument in SECTIONS.values():
        return None
    return next((name for start, name in SECTIONS.items() if argument.startswith(start)), None)


def read(reading: Reading, folder: Path | None = None) -> dict[str, Any]:
    """Return the fields that Accelerate's configuration decides.

    Parameters
    ----------
    reading : Reading
        Its keys, as a file has them.
    folder : path, optional
        Where the file is: paths in it may be seen from there.

    Raises
    ------
    ConfigError
        If it is a run on other hardware than GPUs, or holds a value that cannot be.
    """
    kind = _kind(reading)
    found: dict[str, Any] = {}
    if kind == "DEEPSPEED":
        found |= _deepspeed(reading, folder)
    else:
        reading.skip("deepspeed_config")
    if kind == "FSDP":
        found |= fsdp(reading, reading.get("fsdp_config"), "fsdp_config", version=1)
    else:
        reading.skip("fsdp_config")
    if "parallelism_config" in reading:
        found |= parallelism(reading, reading.get("parallelism_config"))
    processes, machines = reading.get("num_processes"), reading.get("num_machines", 1)
    if processes not in (None, -1):
        found["num_gpus"] = count(processes, "num_processes")
    if count(machines, "num_machines") > 1:
        found["num_nodes"] = int(machines)
    if "num_gpus" not in found and kind in ("MULTI_GPU", "FSDP", "DEEPSPEED"):
        reading.note(
            "too_little" if kind == "MULTI_GPU" else "too_much",
            f"How many GPUs {kind} runs over is not said, and one is counted; give num_gpus",
            "num_gpus",
        )
    _compiled(reading)
    return found


def precision(reading: Reading) -> str | None:
    """Return our word for mixed_precision, where it is one that is counted."""
    word = str(reading.get("mixed_precision", "")).lower()
    if word == "fp8":
        reading.skip("fp8_config")
        reading.uncounted(
            "mixed_precision", "unknown", "products in 8 bits; bf16 is counted", "mixed_precision"
        )
        return "bf16"
    reading.skip("fp8_config")
    return word if word in ("no", "bf16", "fp16") else None


def _kind(reading: Reading) -> str:
    kind = str(reading.get("distributed_type", "")).upper().rpartition(".")[2]
    switches = {"use_deepspeed": "DEEPSPEED", "use_fsdp": "FSDP", "multi_gpu": "MULTI_GPU"}
    reading.skip("use_parallelism_config")
    for switch, name in switches.items():
        if switched(reading.get(switch)):
            kind = name
    if not kind or kind == "FALSE":  # YAML has NO for false
        named = {"deepspeed_config": "DEEPSPEED", "fsdp_config": "FSDP"}
        kind = next((name for key, name in named.items() if not kind and reading.get(key)), "NO")
    if kind in ELSEWHERE:
        raise ConfigError(
            f"{PROGRAM}'s distributed_type: {kind} is {ELSEWHERE[kind]}, which is not estimated "
            "here."
        )
    if kind not in ("NO", "MULTI_GPU", "FSDP", "DEEPSPEED", "TP"):
        reading.uncounted(
            "distributed_type", "unknown", "no such type is known here", "sharding", "num_gpus"
        )
    reading.skip("megatron_lm_config")
    return kind


def _deepspeed(reading: Reading, folder: Path | None) -> dict[str, Any]:
    written = reading.get("deepspeed_config")
    if isinstance(written, Mapping) and "zero_optimization" in written:
        return deepspeed.beside(reading, written, "deepspeed_config")
    inner = reading.inside("deepspeed_config")
    file = inner.get("deepspeed_config_file", inner.get("hf_ds_config"))
    if file is None:
        zero = {
            "stage": inner.get("zero_stage", deepspeed.AUTO_STAGE),
            **{
                key: {"device": inner.get(f"{key}_device")}
                for key in ("offload_optimizer", "offload_param")
                if inner.get(f"{key}_device") not in (None, "none")
            },
        }
        inner.skip("gradient_accumulation_steps")  # the Trainer's own, or it stops
        return deepspeed.beside(reading, {"zero_optimization": zero}, "deepspeed_config")
    # with a file Accelerate takes these for what is "auto" in it
    filled = ("zero_stage", "offload_optimizer_device", "offload_param_device")
    inner.skip(*filled, "gradient_accumulation_steps")
    if isinstance(file, (str, PathLike)) and folder is not None and (folder / file).is_file():
        file = folder / file
    return deepspeed.beside(reading, file, "deepspeed_config_file")


def fsdp(reading: Reading, written: object, key: str, version: int) -> dict[str, Any]:
    """Return the fields that FSDP's settings decide, and account for them.

    Parameters
    ----------
    reading : Reading
        The settings that hold them.
    written : mapping
        The settings, their names with ``fsdp_`` in front or without.
    key : str
        The key that holds them.
    version : int
        Which FSDP it is where they do not say.
    """
    names = {
        str(name).lower().removeprefix("fsdp_"): each
        for name, each in mapping(written, key).items()
    }
    inner = reading.beside(names, Names.of("fsdp"), key)
    number = inner.get("version", version)
    found = _strategy(inner, is_fsdp1=str(number) == "1")
    wrapped = str(inner.get("auto_wrap_policy", "NO_WRAP" if version == 1 else "")).upper()
    if found["sharding"] != "ddp":
        if wrapped == "NO_WRAP":
            sentence = f"{key} wraps no layers, so that all weights are gathered at once"
            inner.note("too_little", sentence)
        elif wrapped == "SIZE_BASED_WRAP":
            inner.uncounted("auto_wrap_policy", "unknown", "layer by layer is counted")
    if switched(inner.get("offload_params", inner.get("cpu_offload"))):
        found["cpu_offload"] = "all"
    if switched(inner.get("activation_checkpointing")):
        found["gradient_checkpointing"] = True
        if switched(inner.get("activation_checkpointing_offload")):
            found["offload_activations"] = True
    inner.skip("activation_checkpointing_offload")
    if inner.get("limit_all_gathers", True) is False:
        inner.uncounted("limit_all_gathers", "too_little", "more layers are gathered ahead")
    return found


def _strategy(inner: Reading, is_fsdp1: bool) -> dict[str, Any]:
    key = "reshard_after_forward"
    if is_fsdp1 and key not in inner:
        key = "sharding_strategy"
    inner.skip("sharding_strategy")
    value = inner.get(key, True)
    truth = switched(value, None)
    strategy = NUMBERS.get(value, "") if type(value) is int else str(value).upper()
    if str(value).isdecimal() and int(value) in NUMBERS:
        strategy = NUMBERS[int(value)]
    elif truth is not None:
        strategy = "FULL_SHARD" if truth else "SHARD_GRAD_OP"
    if strategy not in STRATEGIES:
        inner.uncounted(key, "unknown", "no strategy of FSDP is called so", "sharding")
    elif strategy in ("SHARD_GRAD_OP", "HYBRID_SHARD_ZERO2"):
        inner.uncounted(key, "too_little", "weights stay gathered from forward to backward")
    if is_fsdp1 and strategy != "NO_SHARD":
        inner.note("unknown", "FSDP1 joins the weights of a layer to one; FSDP2 is counted")
    return {"sharding": STRATEGIES.get(strategy, "fsdp")}


def parallelism(reading: Reading, written: object) -> dict[str, Any]:
    """Return the fields that a ParallelismConfig decides: by its sizes, or as an object."""
    sizes = ("dp_replicate_size", "dp_shard_size", *SPLIT)
    if not isinstance(written, Mapping):
        if not hasattr(written, "dp_shard_size"):
            raise ConfigError(f"parallelism_config must be a mapping, not {shown(written)}.")
        written = {size: getattr(written, size, 1) for size in sizes}
    names = {str(name).removeprefix("parallelism_config_"): each for name, each in written.items()}
    inner = reading.beside(names, Names.of("parallelism"), "parallelism_config")
    numbers = {size: count(inner.get(size, 1) or 1, size) for size in sizes}
    for size, why in SPLIT.items():
        if numbers[size] > 1:
            inner.uncounted(size, "too_much", why)
    found: dict[str, Any] = {}
    replicas, shards = numbers["dp_replicate_size"], numbers["dp_shard_size"]
    if replicas > 1 and shards > 1:
        found["sharding"] = "hsdp"
        inner.note("unknown", f"Weights are sharded over {shards} GPUs; over a node is counted")
    total = 1
    for number in numbers.values():
        total *= number
    if total > 1:
        found["num_gpus"] = total
    return found


def _compiled(reading: Reading) -> None:
    backend = reading.inside("dynamo_config")
    name = backend.get("dynamo_backend", backend.get("backend", "no"))
    if str(name).lower() not in ("no", "false"):
        reading.uncounted("dynamo_config", "unknown", "compiled code saves other activations")


def accumulation(reading: Reading) -> dict[str, bool]:
    """Return whether gradients are reduced in each pass (transformers' ``accelerator_config``)."""
    inner = reading.inside("accelerator_config").inside("gradient_accumulation_kwargs")
    return {"sync_each_batch": True} if switched(inner.get("sync_each_batch")) else {}


def switched(value: object, other: bool | None = False) -> bool | None:
    """Return a truth value, also one that is written as text; `other` for what is none.

    Examples
    --------
    >>> switched("true"), switched(None), switched("FULL_SHARD", None)
    (True, False, None)
    """
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word in ("true", "yes", "on", "1", "y", "t"):
        return True
    return False if word in ("false", "no", "off", "0", "n", "f") else other
