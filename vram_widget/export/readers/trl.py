"""Read what TRL's SFTTrainer runs with (trl 1.16): its objects, its command line, its YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from os import PathLike
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from ...config import TrainingConfig
from ...errors import ConfigError, shown
from ...model import catalog
from ...trainers import SHARDS_PARAMETERS
from ..trl import CHECKPOINTS, DEFAULTS, FLOATS, LORA, LORA_NAMES, READ
from . import accelerate, commands, deepspeed, source, transformers
from .reader import Command, Reader
from .reading import Names, Reading, count, mapping
from .transformers import mapping_of, plain

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ...config.choices import Choices

PROGRAM = "TRL"

#: Keywords of SFTTrainer -> what `export` calls them.
KEYWORDS = {
    "args": "SFTConfig",
    "peft_config": "LoraConfig",
    "quantization_config": "BitsAndBytesConfig",
}

#: ModelConfig's fields -> LoraConfig's.
MODEL_CONFIG = {
    "lora_r": "r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "lora_target_modules": "target_modules",
    "lora_target_parameters": "target_parameters",
    "lora_modules_to_save": "modules_to_save",
    "lora_task_type": "task_type",
    "use_dora": "use_dora",
}

#: The files that `trl sft --accelerate_config NAME` knows (trl/accelerate_configs).
ACCELERATE_CONFIGS: dict[str, dict[str, Any]] = {
    "single_gpu": {"distributed_type": "NO", "num_processes": 1},
    "multi_gpu": {"distributed_type": "MULTI_GPU", "num_processes": 8},
    **{
        f"zero{stage}": {
            "distributed_type": "DEEPSPEED",
            "num_processes": 8,
            "deepspeed_config": {"zero_stage": stage},
        }
        for stage in (1, 2, 3)
    },
    **{
        f"fsdp{version}": {
            "distributed_type": "FSDP",
            "num_processes": 8,
            "fsdp_config": {
                "fsdp_version": version,
                "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            },
        }
        for version in (1, 2)
    },
}

#: How TRL's other trainers and scripts are named, and the kind of run that each is.
OTHER_TRAINERS = {
    "dpo": "preference training",
    "cpo": "preference training",
    "orpo": "preference training",
    "kto": "preference training",
    "bco": "preference training",
    "tpo": "preference training",
    "xpo": "preference training",
    "mpo": "preference training",
    "nash": "preference training",
    "grpo": "reinforcement learning",
    "gspo": "reinforcement learning",
    "rloo": "reinforcement learning",
    "ppo": "reinforcement learning",
    "reward": "the training of a reward model",
    "prm": "the training of a reward model",
    "gkd": "a distillation",
    "gold": "a distillation",
    "distill": "a distillation",
    "minillm": "a distillation",
    "sdft": "a distillation",
    "sdpo": "a distillation",
    "ssd": "a distillation",
    "vlm": "fine-tuning on images",
}

#: What ``trl sft`` runs, which sets nothing beside its command line.
SCRIPT = "trl/scripts/sft.py"

#: How the name of a class, a script or a command may go on.
_REST = r"(?:[^a-z]|$|config|trainer|lation|md)"

#: What a command line that starts a training script begins with.
STARTERS = ("trl", "accelerate", "accelerate-launch", "torchrun", "deepspeed", "python", "python3")

#: Sequence lengths by older names (SFTConfig before 0.16, SFTTrainer's keyword).
LENGTHS = ("max_length", "max_seq_length")


@dataclass
class Parts:
    """What was given, by the class whose fields it is.

    Attributes
    ----------
    arguments : mapping
        Fields of SFTConfig, of ModelConfig and of ScriptArguments.
    lora, quantized : mapping or None
        Fields of LoraConfig and of BitsAndBytesConfig, where there is one.
    launch : mapping
        Accelerate's settings.
    folder, launch_folder : path or None
        Where the files of the arguments and of Accelerate's settings are.
    script : str
        The script that a command line starts.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    lora: Mapping[str, Any] | None = None
    quantized: Mapping[str, Any] | None = None
    launch: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    launch_folder: Path | None = None
    script: str = SCRIPT


def from_trl(
    settings: Mapping[str, Any] | str | PathLike[str] | Sequence[str], **choices: Unpack[Choices]
) -> TrainingConfig:
    r"""Return the configuration that TRL's SFTTrainer runs with these settings.

    Parameters
    ----------
    settings : mapping, str, path or list
        What `export` gives: ``model``, ``SFTConfig`` and, where used, ``LoraConfig``,
        ``BitsAndBytesConfig`` and ``accelerate``, each a mapping or the object itself. Or the
        fields of SFTConfig and ModelConfig in one mapping, as YAML text, or the path of such a
        file, as ``trl sft --config`` takes them. Or a command line, as text or as a list: of
        ``trl sft``, or of a script started by ``accelerate launch``, ``torchrun`` or ``python``.
        The files of ``deepspeed``, ``fsdp_config`` and Accelerate that they name are opened.
    **choices
        Fields that the settings do not hold, such as `gpu`; they win.

    Warns
    -----
    ReadingWarning
        Once, of all settings that are not counted.

    Raises
    ------
    ConfigError
        If no model is named, for settings that are not TRL's, for another trainer's, or for a value
        that cannot be.

    Examples
    --------
    >>> config = from_trl({"model": "m", "SFTConfig": {"max_length": 512}, "LoraConfig": {"r": 4}})
    >>> config.training_method, config.lora_r, config.max_seq_len
    ('lora', 4, 512)
    >>> from_trl("trl sft --model_name_or_path m --use_peft --num_processes 2").num_gpus
    2
    """
    parts = _parts(settings)
    reading = Reading(PROGRAM, parts.arguments, Names.of("transformers", "trl"))
    found: dict[str, Any] = {"trainer": "trl", "training_method": "sft"}
    launch = reading.beside(parts.launch, Names.of("accelerate"), "accelerate")
    launched = accelerate.read(launch, parts.launch_folder) if parts.launch else {}
    precision = accelerate.precision(launch)
    loading = _loading(reading)
    found |= _model(reading, loading)
    found |= transformers.read(reading, parts.folder)
    if found.get("mixed_precision") == "no" and precision:
        found["mixed_precision"] = precision
    found |= launched | {key: found[key] for key in ("sharding", "cpu_offload") if key in found}
    found |= _sequences(reading, parts.arguments, choices)
    found |= _savers(reading, found)
    _adapter(reading, parts, loading, found, choices)
    transformers.evaluation(
        reading, {"micro_batch_size": 8, **found, **choices}["micro_batch_size"]
    )
    is_sharded = found.get("sharding", "ddp") != "ddp" and "sharding" not in launched
    if is_sharded and "num_gpus" not in found:
        reading.note(
            "too_much",
            "How many GPUs weights are sharded over is not said, and one is counted; give num_gpus",
            "num_gpus",
        )
    deepspeed.on_one_gpu(reading, found, choices)
    if parts.script != SCRIPT:
        reading.note("unknown", f"What {parts.script} sets by itself is not read")
    steps = reading.get("max_steps")
    config = reading.configuration(found, choices, "model_name_or_path or model")
    return _for_steps(config, steps, choices)


def _for_steps(config: TrainingConfig, steps: object, choices: Mapping[str, Any]) -> TrainingConfig:
    """Return `config` with as many samples as a number of steps takes."""
    if not isinstance(steps, int) or steps <= 0:
        return config
    tokens = steps * config.gradient_accumulation_steps * config.num_processes * config.tokens
    samples = tokens // (config.max_seq_len if config.padded else config.tokens_per_sample)
    samples = min(max(samples, 1), TrainingConfig.fields()["num_samples"].metadata["maximum"])
    return config.replace(**{"num_samples": samples, "num_epochs": 1, **choices})


def _parts(settings: object) -> Parts:
    """Return settings, however they were given, by the class whose fields they are."""
    if isinstance(settings, str) and _is_command(settings):
        return _started(settings)
    if isinstance(settings, (list, tuple)):
        return _started(settings)
    if isinstance(settings, (str, PathLike)):
        is_file = isinstance(settings, PathLike) or not source.is_text(settings)
        folder = Path(settings).parent if is_file else None
        return _flat(source.opened(settings, PROGRAM), {}, folder)
    if not isinstance(settings, Mapping):
        return _classes({"SFTConfig": settings})
    named = {str(KEYWORDS.get(key, key)): each for key, each in settings.items()}
    for name in named:
        if name.endswith("Config") and name not in READ:
            _refuse_other("TRL's", name)
    if any(name in READ for name in named):
        return _classes(named)
    return _flat(settings, {}, None)


def _is_command(text: str) -> bool:
    """Return whether a text is a command line that starts a training script, and no path."""
    words = commands.words(text.strip().removeprefix("!").split())
    is_started = words and (PurePath(words[0]).name in STARTERS or words[0].endswith(".py"))
    return bool(is_started) and len(words) > 1


def _started(line: str | Sequence[object]) -> Parts:
    """Return the parts of a command line.

    Raises
    ------
    ConfigError
        If it cannot be read, or starts another kind of run than fine-tuning.
    """
    launcher, words = commands.script(commands.words(line))
    if not words:
        raise ConfigError("The command line starts no training script.")
    first, *rest = words
    script = PurePath(first).name
    if script == "trl":
        kind, *rest = rest or [""]
        _refuse_other("TRL's command", kind)
        if kind != "sft":
            raise ConfigError(f"trl {kind} is no command that fine-tunes; trl sft is.")
        script = SCRIPT
    elif script.endswith(".py"):
        if f"/{first}".endswith((f"/{SCRIPT}", "/trl.scripts.sft.py")):
            script = SCRIPT
        _refuse_other("The script", script)
    else:
        raise ConfigError(f"{shown(first)} is no command that is read: give one of trl sft.")
    arguments, others = commands.options(rest)
    if others:
        raise ConfigError(f"{shown(others[0])} in the command line belongs to no option.")
    folder = None
    if isinstance(config := arguments.pop("config", None), str):
        folder = Path(config).parent
        arguments = {**source.opened(config, PROGRAM), **arguments}
    return replace(_flat(arguments, launcher, folder), script=script)


def _refuse_other(what: str, name: str) -> None:
    """Refuse another trainer's class, script or command.

    Raises
    ------
    ConfigError
        If `name` is one's.
    """
    for each, kind in OTHER_TRAINERS.items():
        if re.search(rf"(?<![a-z]){each}{_REST}", name.lower().replace("online", "")):
            raise ConfigError(f"{what} {shown(name)} is {kind}, which is not estimated here.")


def _classes(named: Mapping[str, Any]) -> Parts:
    """Return the fields of each class.

    Raises
    ------
    ConfigError
        For what is none of the classes.
    """
    for key in named:
        if key not in READ:
            raise ConfigError(f"TRL's settings are {', '.join(READ)}; {shown(key)} is none.")
    written = named.get("SFTConfig")
    arguments = {} if written is None else dict(_fields(written, "SFTConfig"))
    if named.get("model") is not None:
        arguments["model_name_or_path"] = named["model"]
    written = named.get("accelerate")
    launch, folder = accelerate.opened(written) if written is not None else ({}, None)
    lora, quantized = named.get("LoraConfig"), named.get("BitsAndBytesConfig")
    options = None if quantized is None else _fields(quantized, "BitsAndBytesConfig")
    for method, (name, _) in CHECKPOINTS.items():
        if named.get(name) is not None:
            options = {**_fields(named[name], name), "quant_method": method}
    return Parts(
        arguments,
        None if lora is None else _fields(lora, "LoraConfig"),
        options,
        launch,
        None,
        folder,
    )


def _flat(arguments: Mapping[str, Any], launcher: Mapping[str, Any], folder: Path | None) -> Parts:
    """Return the parts of what stands in one mapping."""
    arguments = {str(key).replace("-", "_"): each for key, each in arguments.items()}
    own = {key: each for key, each in arguments.items() if not _launches(key)}
    launcher = {**{key: each for key, each in arguments.items() if _launches(key)}, **launcher}
    file = launcher.pop("config_file", None)
    name = launcher.pop("accelerate_config", None)
    written: object = ACCELERATE_CONFIGS.get(name, name) if isinstance(name, str) else file
    launch, launch_folder = accelerate.opened(written) if written is not None else ({}, None)
    merged = dict(launch)
    for key, value in accelerate.launched(launcher).items():
        before = merged.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            value = {**before, **value}
        merged[key] = value
    return Parts(own, None, None, merged, folder, launch_folder)


def _launches(key: str) -> bool:
    """Return whether a key of the command line or of its file is the launcher's."""
    own = ("debug", "env", "use_cpu", "fsdp_config", "deepspeed", "parallelism_config")
    if key in own:
        return False
    known = key in accelerate.ARGUMENTS or key in accelerate.SWITCHES
    return known or key == "accelerate_config" or accelerate.section(key) is not None


def _fields(settings: Any, name: str) -> Mapping[str, Any]:
    """Return the fields of an object, or a mapping as it is.

    Raises
    ------
    ConfigError
        If it is neither, or another trainer's.
    """
    if isinstance(settings, Mapping):
        return mapping(settings, name)
    _refuse_other("TRL's", type(settings).__name__)
    if hasattr(settings, "to_dict"):
        return dict(settings.to_dict())
    if is_dataclass(settings) and not isinstance(settings, type):
        return {each.name: getattr(settings, each.name) for each in fields(settings)}
    raise ConfigError(
        f"Give TRL's settings as mappings or as its own objects, not {shown(settings)} as {name}."
    )


def _loading(reading: Reading) -> Reading:
    """Return the keyword arguments of from_pretrained."""
    options = mapping_of(reading.get("model_init_kwargs"), "model_init_kwargs")
    names = Names.of("trl")
    return reading.beside(options, _within(names, "model_init_kwargs."), "model_init_kwargs")


def _within(names: Names, start: str) -> Names:
    """Return the names that begin so, without that."""
    return Names(
        tuple(each.removeprefix(start) for each in names.no_bearing if each.startswith(start)),
        {k.removeprefix(start): each for k, each in names.uncounted.items() if k.startswith(start)},
        {},
    )


def _model(reading: Reading, loading: Reading) -> dict[str, Any]:
    found: dict[str, Any] = {}
    path = reading.get("model_name_or_path")
    revision = loading.get("revision", reading.get("model_revision", "main"))
    if path is not None:
        found["model_path"] = path if revision == "main" else f"{path}@{revision}"
    for place in (reading, loading):
        for key in ("torch_dtype", "dtype"):
            if key in place:
                found |= _dtype(place, key, path)
        if "attn_implementation" in place:
            found |= transformers.attention(place, "attn_implementation")
    where = loading.get("device_map")
    if where == "balanced":
        return found | {"sharding": "device_map"}
    if where not in (None, "auto", "cuda", "cuda:0", 0) and not (
        isinstance(where, Mapping) and set(where) <= {""}
    ):
        loading.uncounted("device_map", "unknown", "weights may lie on other devices")
    return found


def _dtype(place: Reading, key: str, path: object) -> dict[str, str]:
    name = str(plain(place.get(key))).removeprefix("torch.")
    if name == "auto":
        known = (catalog.lookup(path) or {}) if isinstance(path, str) else {}
        name = str(known.get("dtype", known.get("torch_dtype", "")))
        if not name:
            place.uncounted(
                key, "unknown", "bfloat16 is counted, as most checkpoints are", "param_dtype"
            )
            name = "bfloat16"
    short = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "float": "float32"}
    name = short.get(name, name)
    if name not in TrainingConfig.fields()["param_dtype"].metadata["options"]:
        place.uncounted(key, "unknown", "float32 is counted", "param_dtype")
        name = "float32"
    return {"param_dtype": name}


def _sequences(
    reading: Reading, written: Mapping[str, Any], choices: Mapping[str, Any]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in LENGTHS:
        if written.get(key, 1) is None and "max_seq_len" not in choices:
            raise ConfigError(
                f"SFTConfig's {key} is None, so that sequences are as long as the data has them: "
                "give max_seq_len, the longest of them in tokens."
            )
        if key in reading:
            found["max_seq_len"] = reading.get(key)
    packs = accelerate.switched(reading.get("packing"))
    pads = not (packs or accelerate.switched(reading.get("padding_free")))
    if "packing" in reading or "padding_free" in reading:
        found["padded"] = pads
    multiple = reading.get("pad_to_multiple_of")
    if isinstance(multiple, int) and isinstance(found.get("max_seq_len", 1024), int):
        whole = -(-found.get("max_seq_len", 1024) // count(multiple, "pad_to_multiple_of"))
        if not packs:
            found["max_seq_len"] = whole * multiple
    return found


def _savers(reading: Reading, found: Mapping[str, Any]) -> dict[str, Any]:
    ours: dict[str, Any] = {}
    if "use_liger_kernel" in reading:
        ours["use_liger"] = accelerate.switched(reading.get("use_liger_kernel"))
    if not ours.get("use_liger"):
        reading.skip("liger_kernel_config")
    if "gradient_checkpointing_use_reentrant" in reading:  # before 0.8
        older = reading.get("gradient_checkpointing_use_reentrant")
        ours["use_reentrant"] = accelerate.switched(older)
    if "activation_offloading" in reading:
        offloads = accelerate.switched(reading.get("activation_offloading"))
        if offloads and found.get("gradient_checkpointing") is False:
            reading.uncounted(
                "activation_offloading", "too_much", "all activations, and not inputs of layers"
            )
        ours["offload_activations"] = offloads
    return ours


def _adapter(
    reading: Reading,
    parts: Parts,
    loading: Reading,
    found: dict[str, Any],
    choices: Mapping[str, Any],
) -> None:
    """Put the fields of LoRA and of a quantised base into `found`.

    Raises
    ------
    ConfigError
        For another adapter than LoRA, and for quantised weights that nothing is adapted in.
    """
    own = {theirs: reading.get(name) for name, theirs in MODEL_CONFIG.items() if name in reading}
    if isinstance(targets := own.get("target_modules"), list):
        own["target_modules"] = [str(name).rstrip(",") for name in targets]
    lora = parts.lora
    if accelerate.switched(reading.get("use_peft")) and lora is None:
        lora = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.05, **own}  # ModelConfig's defaults
    sharded = found.get("sharding") in SHARDS_PARAMETERS
    quantized = _quantized(reading, parts, loading, sharded)
    if lora is not None:
        found["training_method"] = "qlora" if quantized else "lora"
        found |= _lora(reading, lora)
        # sft_trainer.py: under ZeRO-3 adapters have the dtype of a base that is not quantised
        if not quantized and found.get("sharding") == "zero3":
            found["lora_dtype"] = (
                "bfloat16" if found.get("param_dtype") == "bfloat16" else "float32"
            )
    elif quantized and "training_method" not in choices:
        raise ConfigError(
            "TRL trains no quantised weights by themselves: give LoraConfig or use_peft with them."
        )
    found |= quantized


def _lora(reading: Reading, lora: Mapping[str, Any]) -> dict[str, Any]:
    inner = reading.beside({**DEFAULTS, **lora}, Names.of("peft"), "LoraConfig")
    kind = str(plain(inner.get("peft_type", "LORA"))).upper().rpartition(".")[2]
    if kind != "LORA":
        raise ConfigError(f"PEFT's {kind} adapters are not estimated here; LoRA is.")
    task = str(plain(inner.get("task_type", "CAUSAL_LM"))).upper().rpartition(".")[2]
    if task not in ("CAUSAL_LM", "NONE"):
        raise ConfigError(
            f"LoraConfig's task_type {task} makes the model another one, which is not estimated "
            "here; CAUSAL_LM is."
        )
    found = {ours: plain(each) for ours, each in inner.fields({**LORA, **LORA_NAMES}).items()}
    for name in LORA_NAMES.values():
        if isinstance(found.get(name), str):  # an expression, where PEFT takes one
            found[name] = [found[name]]
    found |= _tokens(inner)
    if str(inner.get("bias", "none")) != "none":
        inner.uncounted("bias", "too_little", "biases train too")
    if "layers_to_transform" not in inner:
        inner.skip("layers_pattern")
    else:
        inner.uncounted("layers_to_transform", "too_much", "other layers have no adapter")
        inner.skip("layers_pattern")
    if isinstance(inner.get("runtime_config"), Mapping):
        inner.inside("runtime_config")
    return found


def _tokens(inner: Reading) -> dict[str, int]:
    """Read how many rows of the embedding train."""
    written = inner.get("trainable_token_indices")
    rows = [*written.values()] if isinstance(written, Mapping) else [written or []]
    if not all(isinstance(each, (list, tuple)) for each in rows):
        inner.uncounted("trainable_token_indices", "too_little", "these rows train too")
        return {}
    number = sum(len(each) for each in rows)
    return {"trainable_token_indices": number} if number else {}


def _quantized(reading: Reading, parts: Parts, loading: Reading, sharded: bool) -> dict[str, Any]:
    """Return the fields of a quantised base: none where it is not quantised."""
    written = loading.get("quantization_config")
    if parts.quantized is not None:
        settings = parts.quantized
    elif written is not None:
        settings = mapping_of(written, "quantization_config")
    else:
        names = {
            "load_in_4bit": "load_in_4bit",
            "load_in_8bit": "load_in_8bit",
            "use_bnb_nested_quant": "bnb_4bit_use_double_quant",
            "bnb_4bit_quant_storage": "bnb_4bit_quant_storage",
        }
        settings = {
            theirs: each
            for name, theirs in names.items()
            for each in [reading.get(name, loading.get(name))]
            if each is not None
        }
        # get_quantization_config in trainer/utils.py
        settings["bnb_4bit_compute_dtype"] = reading.get("dtype", "float32")
    method = str(plain(settings.get("quant_method", "bitsandbytes"))).lower().rpartition(".")[2]
    if method in CHECKPOINTS:
        return {"quantization": method}
    inner = reading.beside(settings, Names.of("bitsandbytes"), "BitsAndBytesConfig")
    eight, four = (accelerate.switched(inner.get(f"load_in_{bits}bit")) for bits in (8, 4))
    double, storage = inner.get("bnb_4bit_use_double_quant"), inner.get("bnb_4bit_quant_storage")
    compute = str(plain(inner.get("bnb_4bit_compute_dtype", "float32")))
    if method != "bitsandbytes":
        inner.uncounted("quant_method", "unknown", "NF4 is counted", "quantization")
        return {"quantization": "nf4"}
    if eight:
        return {"quantization": "int8"}
    if not four:
        return {}
    if compute == "float32":
        inner.note(
            "too_little",
            "Products with 4-bit weights run in float32 (bnb_4bit_compute_dtype), and in the dtype "
            "of mixed precision is counted",
        )
    packs_integers = sharded and not str(plain(storage) or "uint8").endswith(FLOATS)
    return {
        **({"bnb_4bit_quant_storage": "uint8"} if packs_integers else {}),
        "quantization": "nf4",
        "bnb_4bit_use_double_quant": bool(accelerate.switched(double)),
    }


def _run(program: str) -> Command:
    """Return what reads the words that follow a program's name in a command line."""
    return lambda words, choices: from_trl([program, *words], **choices)


def _recognises(settings: Mapping[str, Any]) -> bool:
    names = {str(KEYWORDS.get(key, key)) for key in settings}
    return bool(names & {"SFTConfig", "LoraConfig"}) or "model_name_or_path" in names


READER = Reader("trl", PROGRAM, 50, _recognises, from_trl, {name: _run(name) for name in STARTERS})
