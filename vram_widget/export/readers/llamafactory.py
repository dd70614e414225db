"""Read LLaMA-Factory's YAML file (llamafactory 0.9.5; its repository at ff6d4d1).

What a file leaves open has the value of the classes in hparams/, not that of the examples which
our defaults for the trainer come from.
"""

from __future__ import annotations

import re
from os import PathLike
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config import TrainingConfig
from ...config.fields import nearest
from ...errors import ConfigError, shown
from ...model import catalog
from ..llamafactory import ATTENTION, LORA
from . import commands, transformers
from .reader import Reader
from .reading import Names, Reading
from .source import Source, is_text, opened

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from typing_extensions import Unpack

    from ...config.choices import Choices

PROGRAM = "LLaMA-Factory"

#: What a file that says nothing runs with (hparams/, transformers' TrainingArguments).
DEFAULTS: dict[str, Any] = {
    "max_seq_len": 2048,
    "micro_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "num_epochs": 3.0,
    "optim": "adamw_torch_fused",
    "mixed_precision": "no",
    "sharding": "ddp",
}
#: The same of an adapter.
ADAPTER = {"lora_r": 8, "lora_dropout": 0.0}

#: stage -> the kind of run that it makes (finetuning_args.py).
STAGES = {
    "rm": "the training of a reward model",
    "ppo": "a run of PPO",
    "dpo": "preference training",
    "kto": "preference training",
}

#: finetuning_type -> what it trains, where that is not estimated.
TYPES = {
    "oft": "trains orthogonal adapters (OFT)",
}

#: Keys that only LLaMA-Factory's second trainer has (src/llamafactory/v1).
SECOND_TRAINER = ("model", "model_class", "peft_config", "dist_config", "kernel_config")

#: Keys that no other program has beside `model_name_or_path`.
SIGNS = ("stage", "finetuning_type", "template", "cutoff_len", "lora_target", "export_dir")

#: flash_attn -> ours. `auto` leaves it to transformers, which takes SDPA. FlashAttention-3 saves
#: what FlashAttention-2 does: queries, keys, values, the output and a float for each row.
ATTENTIONS = {
    "auto": "sdpa",
    "fa3": "flash_attention_2",
    **{theirs: ours for ours, theirs in ATTENTION.items()},
}

#: How names of checkpoints say that they are quantised already.
STORED = re.compile(r"-(awq|gptq)\b", re.IGNORECASE)

#: The stage of ZeRO in the files of examples/deepspeed, for one that cannot be opened from here.
EXAMPLES = {
    "ds_z0_config.json": {"stage": 0},
    "ds_z2_config.json": {"stage": 2},
    "ds_z2_offload_config.json": {"stage": 2, "offload_optimizer": {"device": "cpu"}},
    "ds_z3_config.json": {"stage": 3},
    "ds_z3_offload_config.json": {
        "stage": 3,
        "offload_optimizer": {"device": "cpu"},
        "offload_param": {"device": "cpu"},
    },
}

#: Keys of adapters and of their quantised base beside those of `LORA`: without them, they do
#: nothing.
OF_ADAPTERS = (
    "lora_alpha",
    "lora_target",
    "additional_target",
    "adapter_name_or_path",
    "quantization_method",
    "quantization_type",
    "double_quantization",
)

#: Keys that add rows to the embedding; LoRA then trains it and lm_head in full (model/adapter.py).
RESIZED = ("resize_vocab", "add_tokens", "add_special_tokens")
RESIZED_MODULES = ["embed_tokens", "lm_head"]

#: More layers than a model has.
MOST_LAYERS = 10_000

#: Losses of train/trainer_utils.py that hold more than the ordinary one.
LOSSES = {
    "use_asft_loss": "a second, frozen model and its logits are held too",
    "use_eaft_loss": "the logits of all trained tokens are copied",
}

#: Switches for an optimizer that keeps less than AdamW, which is counted in its place.
SMALLER = {
    "use_galore": "GaLore keeps its states in a low rank",
    "use_apollo": "APOLLO keeps its states in a low rank",
    "use_badam": "BAdam trains one block at a time",
    "use_adam_mini": "Adam-mini keeps one second moment for many weights",
    "use_muon": "Muon keeps one moment for a matrix",
}


def from_llamafactory(settings: Source, **choices: Unpack[Choices]) -> TrainingConfig:
    r"""Return the configuration that LLaMA-Factory trains with a file.

    Parameters
    ----------
    settings : mapping, str or path
        The file's content as a mapping or as YAML text, or the path of the file.
    **choices
        Fields that the file does not hold, such as `gpu` and `num_gpus`; they win.

    Warns
    -----
    ReadingWarning
        Once, of all settings that are not counted.

    Raises
    ------
    ConfigError
        If it is no YAML mapping, trains nothing, is another kind of run, names no model, or holds
        a value that cannot be.

    Examples
    --------
    >>> config = from_llamafactory(
    ...     "model_name_or_path: m\nstage: sft\ndo_train: true\nfinetuning_type: lora\nlora_rank: 4"
    ... )
    >>> config.training_method, config.lora_r, config.micro_batch_size
    ('lora', 4, 8)
    """
    written = dict(opened(settings, PROGRAM))
    if "deepspeed" in written:
        written["deepspeed"] = _located(written["deepspeed"], settings)
    reading = Reading(PROGRAM, written, Names.of("transformers", "llamafactory"))
    _refuse(reading)
    method = _method(reading, choices)
    found = {"trainer": "llamafactory", "training_method": method, **DEFAULTS}
    found |= transformers.read(reading)
    found |= reading.fields({"cutoff_len": "max_seq_len"})
    if path := reading.get("model_name_or_path"):
        revision = reading.get("model_revision", "main")
        found["model_path"] = path if revision == "main" else f"{path}@{revision}"
        if "aqlm" in str(path).lower():
            reading.note("too_much", f"{path} has 2 bits a weight (AQLM), and is counted with 16")
    found["padded"] = not _packs(reading)
    found |= _read_precision(reading, method) | _read_savers(reading, choices)
    reading.skip(*LORA, *OF_ADAPTERS)
    if reading.get("finetuning_type") == "freeze" and method == "sft":
        found |= _read_freeze(reading, choices)
    if method != "sft":
        found |= _read_adapter(reading)
    if method == "qlora":
        found |= _read_quantised(reading, choices)
    if reading.get("use_unsloth"):
        found |= _read_unsloth(reading)
    _read_gpus(reading, found)
    for key, why in SMALLER.items():
        if reading.get(key):
            reading.uncounted(key, "too_much", f"{why}; AdamW's states are counted", "optim")
    for key in ("freeze_vision_tower", "freeze_multi_modal_projector"):
        if not reading.get(key, True):
            reading.uncounted(key, "too_little", "what turns images into tokens trains too")
    transformers.evaluation(reading, found["micro_batch_size"])
    return reading.configuration(found, choices, "model_name_or_path")


def run(words: Sequence[str], choices: Mapping[str, Any]) -> TrainingConfig:
    """Return the configuration of the words that follow ``llamafactory-cli``.

    They are options, or a file and ``key=value`` for what it is to hold instead (read_args in
    hparams/parser.py).

    Raises
    ------
    ConfigError
        If they start no training.
    """
    task, *rest = words or [""]
    if task != "train":
        raise ConfigError(f"llamafactory-cli {task} trains nothing; llamafactory-cli train does.")
    if not rest or rest[0].startswith("--"):
        return from_llamafactory(commands.options(rest)[0], **choices)
    file, *changes = rest
    settings = dict(opened(file, PROGRAM))
    settings["deepspeed"] = _located(settings.get("deepspeed"), file)
    pairs = (change.partition("=") for change in changes)
    settings |= {key: commands.value(value) for key, equals, value in pairs if equals}
    return from_llamafactory(settings, **choices)


def _refuse(reading: Reading) -> None:
    """Refuse what trains nothing, or is another kind of run.

    Raises
    ------
    ConfigError
        If it is one of those.
    """
    if "model_name_or_path" not in reading and any(key in reading for key in SECOND_TRAINER):
        raise ConfigError(
            "This is a file of LLaMA-Factory's second trainer (v1), which is not read; "
            "name the model by model_name_or_path for the first."
        )
    stage = reading.get("stage", "sft")
    if _known(reading, "stage", stage, ("pt", "sft", *STAGES)) in STAGES:
        raise ConfigError(
            f"{PROGRAM}'s stage: {stage} is {STAGES[stage]}, which is not estimated here."
        )
    elsewhere = [key for key in ("export_dir", "do_predict", "infer_backend") if reading.get(key)]
    if not reading.get("do_train", "stage" in reading and not elsewhere):
        raise ConfigError(
            f"This {PROGRAM} file trains nothing: it has no do_train: true"
            + (f", but {elsewhere[0]}." if elsewhere else ".")
        )


def _known(reading: Reading, key: str, value: object, options: Collection[str]) -> str:
    """Return a value that is one of `options`.

    Raises
    ------
    ConfigError
        If it is none of them.
    """
    if isinstance(value, str) and value in options:
        return value
    hint = nearest(value, list(options))
    raise ConfigError(
        f"{PROGRAM}'s {key} is one of {', '.join(options)}, not {shown(value)}.{hint}"
    )


def _method(reading: Reading, choices: Mapping[str, Any]) -> str:
    kind = reading.get("finetuning_type", "lora")
    bits = reading.get("quantization_bit")
    chosen = choices.get("training_method")
    if chosen:
        return str(chosen)
    if _known(reading, "finetuning_type", kind, ("lora", "full", "freeze", *TYPES)) in TYPES:
        raise ConfigError(
            f"{PROGRAM}'s finetuning_type: {kind} {TYPES[kind]}, which is not estimated here; "
            "the keyword training_method reads the rest as another method."
        )
    if kind in ("full", "freeze"):
        return "sft"
    if _stored(reading):
        return "qlora"
    # model_utils/unsloth.py hands Unsloth load_in_4bit alone
    return "qlora" if bits and not (reading.get("use_unsloth") and bits != 4) else "lora"


def _stored(reading: Reading) -> str:
    """Return how the checkpoint is quantised already, by its name: there is no key for it."""
    named = STORED.search(str(reading.get("model_name_or_path", "")))
    return named[1].lower() if named else ""


def _packs(reading: Reading) -> bool:
    """Return whether samples are packed: always in pre-training, unless it is switched off."""
    packs, neat = reading.get("packing"), bool(reading.get("neat_packing"))
    if neat and reading.get("flash_attn", "auto") != "fa2":
        # prepare_4d_attention_mask in data/collator.py
        reading.uncounted(
            "neat_packing", "too_little", "it makes a mask of length x length without fa2"
        )
    return neat or bool(reading.get("stage") == "pt" if packs is None else packs)


def _read_precision(reading: Reading, method: str) -> dict[str, Any]:
    """Read how what trains is stored (init_adapter in model/adapter.py).

    What is frozen has the checkpoint's own dtype. PEFT itself turns adapters to float32, also
    under `pure_bf16`.
    """
    half = reading.get("pure_bf16") or reading.get("use_badam")
    stored = "float32" if method == "sft" and not half else "bfloat16"
    return {"lora_dtype": "float32", "param_dtype": stored}


def _read_savers(reading: Reading, choices: Mapping[str, Any]) -> dict[str, Any]:
    attention = reading.get("flash_attn", "auto")
    if "attn_implementation" not in choices:
        _known(reading, "flash_attn", attention, ATTENTIONS)
    family = _catalogued(reading, choices).get("model_type")
    if family == "gpt_oss":  # model_utils/attention.py has rules for these two
        attention = "fa3"
    elif family == "gemma2" and attention == "auto":
        attention = "fa2"
        reading.note(
            "too_little",
            "Gemma 2 runs FlashAttention-2 if it is installed, as is counted, or else eager "
            "attention",
            "attn_implementation",
        )
    # TrainingArguments' own switch turns it on again where LLaMA-Factory's is off
    off = reading.get("disable_gradient_checkpointing")
    liger = [reading.get(key) for key in ("enable_liger_kernel", "use_liger_kernel")]
    found = {
        "gradient_checkpointing": bool(reading.get("gradient_checkpointing")) or not off,
        "offload_activations": bool(reading.get("use_unsloth_gc")) and not off,
        "use_reentrant": bool(
            reading.get("use_reentrant_gc", True) or reading.get("use_unsloth_gc")
        ),
        "attn_implementation": ATTENTIONS.get(attention, "sdpa"),
        "use_liger": any(liger),
    }
    for key in ("use_dft_loss", "use_asft_loss", "use_eaft_loss"):
        if reading.get(key) and found["use_liger"]:  # train/trainer_utils.py
            reading.uncounted(key, "too_little", "it takes the logits, which Liger's loss does not")
    for key, why in LOSSES.items():
        if reading.get(key):
            reading.uncounted(key, "too_little", why)
    return found


def _read_freeze(reading: Reading, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Read which weights train (_setup_freeze_tuning in model/adapter.py).

    Raises
    ------
    ConfigError
        If that takes the number of layers, and the model is in no catalogue.
    """
    if "trainable_parameters" in choices:
        return {}
    number = reading.get("freeze_trainable_layers", 2)
    if not isinstance(number, int) or abs(number) > MOST_LAYERS:
        raise ConfigError(f"freeze_trainable_layers is a number of layers, not {shown(number)}.")
    layers = range(-number)
    if number > 0:
        count = _catalogued(reading, choices).get("num_hidden_layers")
        if not count:
            raise ConfigError(
                f"{PROGRAM} trains the last {number} layers of a model whose number of them is not "
                r"known here: give their names, as in trainable_parameters=[r'\.(30|31)\.']."
            )
        stride = max(1, count // number)
        last = range(max(0, count - number), count)
        layers = range(stride - 1, count, stride) if reading.get("use_llama_pro") else last
    numbers = "|".join(str(layer) for layer in layers)
    modules = _names(reading.get("freeze_trainable_modules", "all"))
    inside = "" if "all" in modules else f"({'|'.join(map(re.escape, modules))})"
    patterns = [rf"\.({numbers})\.{inside}"] if numbers else []
    patterns += map(re.escape, _names(reading.get("freeze_extra_modules")))
    if not reading.get("pure_bf16"):
        reading.note("too_little", "What trains is float32, and is counted in bfloat16")
    return {"trainable_parameters": patterns, "param_dtype": "bfloat16"}


def _catalogued(reading: Reading, choices: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the dimensions of the model, where they are known with no network."""
    model = choices.get("model_path", reading.get("model_name_or_path"))
    return catalog.lookup(str(model)) or {}


def _names(written: object) -> list[str]:
    """Return several names, also those that are written in one with commas between.

    Raises
    ------
    ConfigError
        If they are no names.
    """
    names = written.split(",") if isinstance(written, str) else written or []
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{shown(written)} are no names of modules.")
    return [name.strip() for name in names if name.strip()]


def _read_adapter(reading: Reading) -> dict[str, Any]:
    found: dict[str, Any] = {**ADAPTER, **reading.fields(LORA)}
    rank = found["lora_r"]
    found["lora_alpha"] = reading.get("lora_alpha") or (rank * 2 if isinstance(rank, int) else rank)
    targets = _names(reading.get("lora_target", "all"))
    found["target_modules"] = "all-linear" if targets == ["all"] else targets
    found |= _read_modules_to_save(reading)
    if "adapter_name_or_path" in reading and not reading.get("create_new_adapter"):
        reading.uncounted(
            "adapter_name_or_path",
            "unknown",
            "an adapter that is trained on has the rank and targets of its own file",
        )
    return found


def _read_modules_to_save(reading: Reading) -> dict[str, Any]:
    """Read what trains beside the adapters: by name, or because tokens were added."""
    resized = any(reading.get(key) for key in RESIZED)
    modules = _names(reading.get("additional_target")) or (RESIZED_MODULES if resized else [])
    if not modules:
        return {}
    for key in RESIZED:
        if reading.get(key):
            reading.uncounted(key, "too_little", "the rows added to embed_tokens and lm_head")
    if not reading.get("pure_bf16"):  # the end of _setup_lora_tuning in model/adapter.py
        reading.note("too_little", "Modules to save train in float32, and are counted in bfloat16")
    return {"modules_to_save": modules}


def _read_quantised(reading: Reading, choices: Mapping[str, Any]) -> dict[str, Any]:
    bits, method = reading.get("quantization_bit"), reading.get("quantization_method", "bnb")
    double = reading.get("double_quantization", True)
    # quantization_type: fp4 takes the bits that nf4 does
    if stored := _stored(reading):
        return {"quantization": stored}
    if bits is None or "quantization" in choices:
        return {"bnb_4bit_use_double_quant": double}
    known = {"bnb": (4, 8), "hqq": (1, 2, 3, 4, 5, 6, 8), "eetq": (8,)}
    if bits not in known[_known(reading, "quantization_method", method, known)]:
        raise ConfigError(f"{PROGRAM} quantises by {method} to {known[method]} bits, not {bits!r}.")
    if method == "hqq" and bits < 4:
        reading.uncounted("quantization_bit", "too_much", "it is counted as 4 bits")
    elif method == "hqq" and bits in (5, 6):
        reading.uncounted("quantization_bit", "too_much", "it is counted as int8")
    elif bits == 8 and method != "bnb":
        reading.uncounted("quantization_method", "unknown", "it is counted as bitsandbytes' int8")
    if bits > 4:
        return {"quantization": "int8"}
    # HQQ: a scale and a zero of 16 bits for 64 weights, as many bits as NF4's float32 scale
    return {"quantization": "nf4", "bnb_4bit_use_double_quant": method == "bnb" and bool(double)}


def _read_gpus(reading: Reading, found: dict[str, Any]) -> None:
    """Read how many GPUs there are, or say how to give them."""
    if "ray_num_workers" in reading:
        found["num_gpus"] = reading.get("ray_num_workers")
    elif found["sharding"] != "ddp":
        reading.note(
            "too_much",
            "The file shards over as many GPUs as it is started on, which it does not say; give "
            "num_gpus",
            "num_gpus",
        )


def _located(written: object, settings: Source) -> object:
    """Return DeepSpeed's configuration as it is, or where its file can be read from here."""
    if not isinstance(written, (str, PathLike)):
        return written
    path, folders = Path(written), [Path()]
    if isinstance(settings, PathLike) or (isinstance(settings, str) and not is_text(settings)):
        folders += Path(settings).absolute().parents
    for folder in folders:
        if isfile(folder / path):
            return folder / path
    own = EXAMPLES.get(path.name)
    return {"zero_optimization": own} if own else path


def _read_unsloth(reading: Reading) -> dict[str, Any]:
    """Read what Unsloth does to the model that it loads (model_utils/unsloth.py).

    It always checkpoints blocks, keeps their inputs in the host's memory, and takes lm_head and
    loss in chunks; its 4-bit scales are quantised too.
    """
    reading.skip("use_unsloth_gc", "use_reentrant_gc", "disable_gradient_checkpointing")
    always = ("gradient_checkpointing", "use_reentrant", "offload_activations")
    ours: dict[str, Any] = {**dict.fromkeys(always, True), "loss_kernel": "chunked"}
    return ours | {"bnb_4bit_use_double_quant": True, "attn_implementation": "sdpa"}


def _recognises(settings: Mapping[str, Any]) -> bool:
    if "model_name_or_path" in settings:
        return any(key in settings for key in SIGNS)
    return "model" in settings and any(key in settings for key in SECOND_TRAINER[1:])


READER = Reader(
    "llamafactory", PROGRAM, 20, _recognises, from_llamafactory, {"llamafactory-cli": run}
)
