"""Read the keywords of Unsloth's calls (unsloth 2026.10.9): a script's, as mappings.

FastLanguageModel.from_pretrained (models/loader.py), its get_peft_model (models/llama.py), and the
SFTConfig that Unsloth gives defaults of its own (models/rl.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...config import TrainingConfig
from ...errors import ConfigError, GPUError, shown
from ...gpu import lookup
from . import source, transformers
from .reader import Reader
from .reading import Names, Reading, mapping
from .source import Source

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ...config.choices import Choices

PROGRAM = "Unsloth"

#: The calls whose keywords are read, in their order in a script.
CALLS = ("from_pretrained", "get_peft_model", "SFTConfig")

#: Classes beside FastLanguageModel and SFTConfig -> the kind of run that they make.
OTHER_CLASSES = {
    "FastVisionModel": "a run on images",
    "FastSentenceTransformer": "the training of an embedding model",
    "FastDiffusionModel": "the training of a diffusion model",
    "GRPOConfig": "reinforcement learning",
    "DPOConfig": "preference training",
    "ORPOConfig": "preference training",
    "KTOConfig": "preference training",
    "RewardConfig": "the training of a reward model",
}

#: _DEFAULT_TARGET_MODULES in models/llama.py.
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
#: What trains in full where it is named among the targets, which cannot be these alone.
EMBEDDINGS = ("embed_tokens", "lm_head")

#: The shortest length that "unsloth" checkpointing offloads anything at
#: (apply_unsloth_gradient_checkpointing).
SHORTEST_OFFLOADED = 512

#: The switches of from_pretrained for how weights are loaded -> ours, or nothing for 16 bits.
LOADING = {
    "load_in_4bit": "nf4",
    "load_in_8bit": "int8",
    "load_in_fp8": "fp8",
    "load_in_16bit": "",
}

ADAPTER_DEFAULTS = {
    "lora_r": 16,
    "lora_alpha": 16,
    "lora_dropout": 0.0,
    "target_modules": TARGETS,
}
ADAPTER = {
    "r": "lora_r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "target_modules": "target_modules",
    "use_dora": "use_dora",
    "target_parameters": "target_parameters",
}
#: What Unsloth gives SFTConfig where nothing is said.
DEFAULTS = {
    "micro_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "optim": "adamw_8bit",
    "loss_kernel": "chunked",
}
#: The same of an evaluation, by SFTConfig's own name.
EVALUATION = {"per_device_eval_batch_size": 4}


def from_unsloth(settings: Source, **choices: Unpack[Choices]) -> TrainingConfig:
    """Return the configuration that a script with Unsloth runs.

    Parameters
    ----------
    settings : mapping, str or path
        The keywords of its calls: ``from_pretrained``, ``get_peft_model`` and ``SFTConfig``, each a
        mapping (or the SFTConfig itself); or all of them in one mapping. Also as YAML or JSON.
    **choices
        Fields that the keywords do not hold, such as `gpu` and `num_gpus`; they win.

    Warns
    -----
    ReadingWarning
        Once, of all settings that are not counted.

    Raises
    ------
    ConfigError
        If no model is named, if another class of Unsloth is used, or for a value that cannot be.

    Examples
    --------
    >>> config = from_unsloth(
    ...     {"from_pretrained": {"model_name": "m", "max_seq_length": 4096}, "SFTConfig": {}}
    ... )
    >>> config.training_method, config.max_seq_len, config.micro_batch_size
    ('qlora', 4096, 4)
    """
    written = source.opened(settings, PROGRAM)
    if not any(call in written for call in CALLS):
        written = {**EVALUATION, **written}
    reading = Reading(PROGRAM, written, Names.of("unsloth", "trl", "peft", "transformers"))
    for name, kind in OTHER_CLASSES.items():
        if name in reading:
            raise ConfigError(f"{PROGRAM}'s {name} makes {kind}, which is not estimated here.")
    if any(call in reading for call in CALLS):
        loading, adapter, arguments = (_keywords(reading, call) for call in CALLS)
    else:
        loading = adapter = arguments = reading
    found: dict[str, Any] = {"trainer": "unsloth"}
    found |= _read_loading(loading, arguments, choices)
    found |= _read_checkpointing(loading, adapter, found)
    found |= _read_arguments(loading, arguments)
    if found["training_method"] == "sft":
        # get_peft_model returns the model as it is
        adapter.skip(*ADAPTER, "modules_to_save")
    else:
        found |= _read_adapter(adapter, found)
    return reading.configuration(found, choices, "model_name")


def _keywords(reading: Reading, call: str) -> Reading:
    """Return the keywords of one call."""
    written = reading.get(call)
    if hasattr(written, "to_dict"):  # an SFTConfig
        written = written.to_dict()
    defaults = EVALUATION if call == "SFTConfig" else {}
    return reading.beside({**defaults, **mapping(written, call)}, reading.names, call)


def _read_loading(
    loading: Reading, arguments: Reading, choices: Mapping[str, Any]
) -> dict[str, Any]:
    """Read the model, how it is loaded, and whether all of it trains."""
    model = loading.get("model_name")
    found: dict[str, Any] = {}
    if model is not None:
        found["model_path"] = model
        revision = loading.get("revision")
        if revision and loading.get("use_exact_model_name"):
            found["model_path"] = f"{model}@{revision}"
    placed = loading.get("device_map", "sequential")  # a full first GPU before the next
    if placed in ("auto", "balanced") and choices.get("num_gpus", 1) != 1:
        found["sharding"] = "device_map"
    elif placed != "sequential" and not (isinstance(placed, Mapping) and len(placed) == 1):
        loading.uncounted("device_map", "too_much", "blocks are spread over the GPUs there are")
    if loading.get("offload_embedding", "auto") not in ("auto", False):
        loading.uncounted("offload_embedding", "too_much", "embed_tokens leaves the GPU")
    kind = _dtype(loading, arguments, choices)
    half = "fp16" if kind == "float16" else "bf16"
    mixes = loading.get("float32_mixed_precision")  # adapters are float32 in any case
    if loading.get("full_finetuning"):
        loading.skip(*LOADING, "quantization_config")
        in_float32 = mixes is True or kind != "bfloat16"
        return found | {
            "training_method": "sft",
            "param_dtype": "float32" if in_float32 else "bfloat16",
            "mixed_precision": half if in_float32 else "no",
        }
    quantization = _quantization(loading, str(model), choices)
    found |= {"param_dtype": kind, "mixed_precision": half, "lora_dtype": "float32"}
    if not quantization:
        return found | {"training_method": "lora"}
    return found | {
        "training_method": "qlora",
        "quantization": quantization,
        "bnb_4bit_use_double_quant": True,
    }


def _dtype(loading: Reading, arguments: Reading, choices: Mapping[str, Any]) -> str:
    """Return the dtype of the weights: the half of the card, unless another is given."""
    written = loading.get("dtype")
    if written is None:
        # SFTConfig's fp16 is refused with weights in bfloat16
        return "float16" if arguments.get("fp16") else _half(choices.get("gpu"))
    name = str(written).removeprefix("torch.")
    name = {"half": "float16", "float": "float32"}.get(name, name)
    if name not in ("bfloat16", "float16", "float32"):
        raise ConfigError(
            f"{PROGRAM}'s dtype is bfloat16, float16 or float32, not {shown(written)}."
        )
    return name


def _half(gpu: object) -> str:
    """Return the 16-bit dtype that a card multiplies in; bfloat16 where it is not known."""
    try:
        return lookup(gpu).half if isinstance(gpu, str) else "bfloat16"
    except GPUError:  # the estimate says so
        return "bfloat16"


def _quantization(loading: Reading, model: str, choices: Mapping[str, Any]) -> str:
    """Return how the base is stored, or nothing where it has 16 bits."""
    config = loading.get("quantization_config")
    if config is not None:
        config = config.to_dict() if hasattr(config, "to_dict") else config
        for key in ("load_in_4bit", "load_in_8bit"):
            if mapping(config, "quantization_config").get(key):
                loading.skip(*LOADING)
                return LOADING[key]
        loading.uncounted("quantization_config", "unknown", "it is no setting of bitsandbytes")
    loads = {"load_in_4bit": True, **{key: loading.get(key) for key in LOADING if key in loading}}
    taken = [key for key, value in loads.items() if value]
    if model.lower().endswith("-bf16"):  # it says so, and loads 16 bits
        return ""
    if len(taken) > 1 and not choices.keys() & {"training_method", "quantization"}:
        raise ConfigError(
            f"{PROGRAM} loads in one of {' and '.join(taken)}, not both; 4 bits are its default, "
            "so set load_in_4bit to False for another."
        )
    return LOADING[taken[-1]] if taken else ""


def _read_checkpointing(
    loading: Reading, adapter: Reading, found: Mapping[str, Any]
) -> dict[str, Any]:
    """Read whether blocks are checkpointed: where there are adapters, get_peft_model decides."""
    key = "use_gradient_checkpointing"
    decides = loading if found["training_method"] == "sft" else adapter
    for each in (loading, adapter):
        each.skip(key)
    written = decides.get(key, "unsloth")
    if written not in (True, False, "unsloth"):
        decides.uncounted(key, "unknown", 'it is counted as "unsloth"')
        written = "unsloth"
    return {"gradient_checkpointing": bool(written), "offload_activations": written == "unsloth"}


def _read_arguments(loading: Reading, arguments: Reading) -> dict[str, Any]:
    """Read SFTConfig, and the length that it and the model agree on."""
    found: dict[str, Any] = {**DEFAULTS, **transformers.read(arguments)}
    # Unsloth sets autocast and checkpointing by the model
    found.pop("gradient_checkpointing", None)
    found.pop("mixed_precision", None)
    if "loss_type" in arguments and arguments.get("loss_type") not in ("nll", "chunked_nll"):
        arguments.uncounted("loss_type", "unknown", "the loss takes other copies of the logits")
    # the smaller of both; max_seq_length is the model's, and was SFTConfig's
    lengths = [loading.get("max_seq_length", 2048)]
    lengths += [arguments.get(key) for key in ("max_length", "max_seq_length") if key in arguments]
    strange = [length for length in lengths if not isinstance(length, int)]
    found["max_seq_len"] = strange[0] if strange else min(lengths)
    if not strange and min(lengths) < SHORTEST_OFFLOADED:
        found["offload_activations"] = False
    # padding-free unless it is switched off (trainer.py)
    packs, padding_free = arguments.get("packing"), arguments.get("padding_free")
    found["padded"] = padding_free is False and not packs
    transformers.evaluation(arguments, found["micro_batch_size"])
    return found


def _read_adapter(adapter: Reading, found: Mapping[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = {**ADAPTER_DEFAULTS, **adapter.fields(ADAPTER)}
    targets, saved = read["target_modules"], adapter.get("modules_to_save")
    if saved:
        read["modules_to_save"] = saved
    named = [name for name in targets if name in EMBEDDINGS] if isinstance(targets, list) else []
    if named and len(named) == len(targets):  # _raise_if_no_lora_targets_left
        raise ConfigError(f"{PROGRAM} wants a projection among target_modules beside {named}.")
    if (saved or named) and found["param_dtype"] == "float16":
        adapter.note(
            "too_little",
            "Modules to save train in float32, and are counted in float16 with the rest",
        )
    return read


def _recognises(settings: Mapping[str, Any]) -> bool:
    return "model_name" in settings or any(
        name in settings for name in (*CALLS[:2], *OTHER_CLASSES)
    )


READER = Reader("unsloth", PROGRAM, 30, _recognises, from_unsloth)
