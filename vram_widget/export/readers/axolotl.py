"""Read Axolotl's YAML file (axolotl 0.19)."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ...config import TrainingConfig
from ...config.fields import real
from ...config.uncounted import Effect
from ...errors import ConfigError, shown
from ...trainers import SHARDS_PARAMETERS
from ..axolotl import DEFAULTS, LOSSES
from . import accelerate, commands, deepspeed
from .reader import Reader
from .reading import Names, Reading, count, word
from .source import Source, opened

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ...config.choices import Choices

#: Optimizers whose states take as many bytes as another's: names that transformers has twice, and
#: those of bitsandbytes with a single state (training_args.py, bitsandbytes/optim).
OPTIMIZERS = {
    "lion": "lion_32bit",
    "paged_adamw": "paged_adamw_32bit",
    "rmsprop_bnb": "lion_32bit",
    "rmsprop_bnb_32bit": "lion_32bit",
    "rmsprop_bnb_8bit": "lion_8bit",
    "adopt_adamw": "adamw_torch_fused",  # two moments in the weight's dtype (optimizers/adopt.py)
}
#: Those that do so for adapters: torchao keeps a byte a value and a scale for each 256, as
#: bitsandbytes does, but of embeddings too (torchao/optim/subclass_8bit.py); optimi has a third
#: number for a weight in 16 bits alone.
ADAPTER_OPTIMIZERS = {
    "ao_adamw_fp8": "adamw_8bit",
    "optimi_adamw": "adamw_torch_fused",
}
#: Others -> the nearest that is counted, what that does to the figure, and why.
NEAREST_OPTIMIZERS: dict[str, tuple[str, Effect, str]] = {
    "ao_adamw_fp8": ("adamw_8bit", "too_much", "those of embeddings take 8 bits too"),
    "optimi_adamw": ("adamw_torch_fused", "too_little", "it keeps a third number for each weight"),
    "paged_lion_8bit": ("lion_8bit", "too_much", "its states can move to the host"),
    "paged_lion_32bit": ("lion_32bit", "too_much", "its states can move to the host"),
    "muon": ("adamw_torch_fused", "too_much", "it keeps one moment of a matrix"),
    "came_pytorch": ("adamw_torch_fused", "too_much", "its second moment is factored"),
    "sinkgd": ("adamw_torch_fused", "too_much", "it keeps no state of a matrix"),
    "dion": ("adamw_torch_fused", "unknown", "it keeps a moment and a projection of a matrix"),
    "flash_adamw": ("adamw_8bit", "unknown", "FlashOptim splits and quantises its states"),
    "flash_adam": ("adamw_8bit", "unknown", "FlashOptim splits and quantises its states"),
    "flash_lion": ("lion_8bit", "unknown", "FlashOptim splits and quantises its states"),
}

#: Attention that never makes the length x length matrix, and saves its output and a number a row.
FUSED_ATTENTION = (
    "flash_attention_2",
    "flash_attention_3",
    "flex_attention",
    "xformers",
    "sage",
    "fp8",
)
#: The switches of before attn_implementation; the first that is on counts (schemas/enums.py).
ATTENTION_SWITCHES = {
    "xformers_attention": "xformers",
    "sage_attention": "sage",
    "flex_attention": "flex_attention",
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "eager_attention": "eager",
}

#: Plugins of kernels -> how the keys that they take begin.
KERNELS = {"LigerPlugin": "liger_", "CutCrossEntropyPlugin": "cut_"}
#: Plugins whose keys say by themselves what they do, or that do nothing to memory.
PLUGINS = (
    "KernelsPlugin",
    "ExpertParallelPlugin",
    "SpectrumPlugin",
    "DenseMixerPlugin",
    "GrokfastPlugin",
    "LLMCompressorPlugin",
    "SwanLabPlugin",
    "LMEvalPlugin",
)
#: Plugins that make it another kind of run.
OTHER_RUNS = {
    "KDPlugin": "distillation",
    "DiffusionPlugin": "diffusion",
    "HatcheryPlugin": "a remote service",
    "NemoGymPlugin": "reinforcement learning",
    "MoraPlugin": "MoRA adapters",
}
#: Liger's switches beside its losses, which together are all that `use_liger` counts.
LIGER = ("liger_rms_norm", "liger_glu_activation", "liger_rope")

#: The switches of Axolotl's own kernels for adapters.
LORA_KERNELS = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "lora_embedding_kernel")

#: The keys of an adapter, which without one do nothing.
ADAPTER = (
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_target_modules",
    "lora_target_linear",
    "lora_target_parameters",
    "lora_modules_to_save",
    "lora_rank_pattern",
    "lora_exclude_modules",
    "lora_model_dir",
    "lora_on_cpu",
    "peft",
    "peft_use_dora",
    "peft_autocast_adapter_dtype",
    "peft_layers_to_transform",
    "peft_layer_replication",
    "peft_trainable_token_indices",
    "bnb_config_kwargs",
    "quantize_moe_experts",
    *LORA_KERNELS,
)

#: Axolotl's own files, which examples name by their path (deepspeed_configs/).
HOST = {"device": "cpu"}
DEEPSPEED_FILES: dict[str, dict[str, Any]] = {
    "zero1": {"stage": 1},
    "zero1_torch_compile": {"stage": 1},
    "zero2": {"stage": 2, "offload_optimizer": HOST},
    "zero2_torch_compile": {"stage": 2, "offload_optimizer": HOST},
    "zero3": {"stage": 3},
    "zero3_bf16": {"stage": 3},
    "zero3_bf16_cpuoffload_all": {"stage": 3, "offload_optimizer": HOST, "offload_param": HOST},
    "zero3_bf16_cpuoffload_params": {"stage": 3, "offload_param": HOST},
}

#: Sizes by which tensors are split, which is not counted -> what is split.
PARALLEL = {
    "tensor_parallel_size": "it splits weights",
    "context_parallel_size": "it splits sequences",
    "sequence_parallel_degree": "it splits sequences",
    "expert_parallel_size": "it splits experts",
}


def from_axolotl(settings: Source, **choices: Unpack[Choices]) -> TrainingConfig:
    r"""Return the configuration that Axolotl runs with a file.

    Parameters
    ----------
    settings : mapping, str or path
        The file's content as a mapping or as YAML text, or the path of the file.
    **choices
        Fields that the file does not hold, such as `gpu` and `num_gpus`; they win.

    Warns
    -----
    ReadingWarning
        Of the keys that are not counted; the estimate has a notice for each.

    Raises
    ------
    ConfigError
        If it is no YAML mapping, names no model, is another kind of run, or holds a value that
        cannot be.

    Examples
    --------
    >>> config = from_axolotl(
    ...     "base_model: m\nadapter: qlora\nload_in_4bit: true\nlora_r: 8\nlora_mlp_kernel: false"
    ... )
    >>> config.training_method, config.lora_r
    ('qlora', 8)
    """
    written = opened(settings, "Axolotl")
    reading = Reading("Axolotl", written, Names.of("axolotl"))
    fsdp = reading.inside("fsdp_config")
    found: dict[str, Any] = {"trainer": "axolotl"}
    found |= _read_model(reading)
    found |= _read_method(reading, choices)
    method = choices.get("training_method", found["training_method"])
    # a default is for a key that is not there: an empty one is None (pydantic), and no bf16
    found |= _read_precision(reading, None if "bf16" in written else DEFAULTS["bf16"])
    found |= _read_batch(reading)
    found |= _read_optimizer(reading, choices, method)
    found |= _read_attention(reading, choices)
    found |= _read_plugins(reading)
    found |= _read_sharding(reading, choices, fsdp)
    found = _read_gpus(reading, choices, found)
    found |= _read_checkpointing(reading, choices, fsdp, method)
    found |= accelerate.accumulation(reading)
    if method == "sft":
        reading.skip(*ADAPTER)
        if _is_fsdp1(reading, fsdp, found) and found["mixed_precision"] != "no":
            # accelerator.py in accelerate has its flat parameters in float32 beside autocast;
            # Axolotl's own preparation for version 2 (monkeypatch/accelerate) leaves them
            found["param_dtype"] = "float32"
        if patterns := reading.get("unfrozen_parameters"):
            found["trainable_parameters"] = [_expression(each) for each in _several(patterns)]
    else:
        found |= _read_adapter(reading, found)
        _read_lora_kernels(reading, fsdp, found)
        if "unfrozen_parameters" in reading:
            why = "beside an adapter it decides which of its weights train"
            reading.uncounted("unfrozen_parameters", "unknown", why)
    return reading.configuration(found, choices, "base_model")


def run(words: Sequence[str], choices: Mapping[str, Any]) -> TrainingConfig:
    """Return the configuration of the words that follow ``axolotl``.

    Raises
    ------
    ConfigError
        If they train with no file.
    """
    end = words.index("--") if "--" in words else len(words)
    changes, others = commands.options(words[:end])
    if others[:1] != ["train"] or len(others) != 2:
        raise ConfigError(
            f"{shown(' '.join(['axolotl', *words[:6]]))} trains with no file that is known here: "
            "give axolotl train and the file."
        )
    start = commands.launch(words[end:])  # torchrun's options, or accelerate's
    if isinstance(gpus := commands.options(words[end + 1 :])[0].get("num_processes"), int):
        start["num_gpus"] = gpus
    settings = {**opened(others[1], "Axolotl"), **changes}
    return from_axolotl(settings, **{**start, **choices})


def _read_model(reading: Reading) -> dict[str, Any]:
    model = reading.get("base_model")
    revision = reading.get("revision_of_model", reading.get("model_revision"))
    kind = reading.get("model_type", reading.get("type_of_model"))
    if "Classification" in str(kind):
        raise ConfigError(
            f"Axolotl's model_type: {shown(kind)} is a run of classification, which is not "
            "estimated here; take it out to estimate the rest as a fine-tune."
        )
    if reading.get("device_map") not in (None, "auto", "balanced", {"": 0}):
        reading.uncounted("device_map", "too_much", "layers may be on other devices")
    if reading.get("experts_implementation") not in (None, "eager", "grouped_mm"):
        reading.uncounted("experts_implementation", "unknown", "it saves other tensors")
    reading.inside("model_config")
    if model is None:
        return {}
    return {"model_path": f"{model}@{revision}" if revision and isinstance(model, str) else model}


def _read_method(reading: Reading, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return the method and the quantised base, which only certain pairs of keys make."""
    adapter = reading.get("adapter") or None
    four, eight, gptq = (bool(reading.get(key)) for key in ("load_in_4bit", "load_in_8bit", "gptq"))
    own = reading.get("model_quantization_config")
    dequantised = reading.inside("model_quantization_config_kwargs").get("dequantize")
    wrong = ""
    if adapter is None and (four or eight):
        wrong = "quantises a base for an adapter alone: set adapter: qlora, or lora for 8 bits"
    elif adapter == "qlora" and (not four or eight or gptq):  # schemas/peft.py refuses it too
        wrong = "adapter: qlora needs load_in_4bit: true beside it, and nothing else"
    elif adapter not in (None, "lora", "qlora"):
        wrong = f"adapter: {shown(adapter)} is not estimated here: take lora or qlora"
    if wrong and "training_method" not in choices:
        raise ConfigError(f"Axolotl's {wrong}, or give training_method, which wins over the file.")
    if adapter not in ("lora", "qlora"):
        if own and not dequantised:
            reading.uncounted("model_quantization_config", "unknown", "weights stay quantised")
        return {"training_method": "sft"}
    # each adapter loads its own kind alone (loaders/model.py): lora with load_in_4bit loads no NF4
    quantization = None
    if adapter == "qlora":
        quantization = "nf4"
    elif eight:
        quantization = "int8"
    elif gptq:
        quantization = "gptq"
    elif not dequantised:
        quantization = word(own, {"Mxfp4Config": "mxfp4", "FineGrainedFP8Config": "fp8"}, None)
    if quantization is None:
        return {"training_method": "lora"}
    return {"training_method": "qlora", "quantization": quantization}


def _read_precision(reading: Reading, bf16: Any) -> dict[str, Any]:
    """Return what resolve_dtype in utils/config makes of the keys, on a card that has bfloat16."""
    fp16 = bool(reading.get("fp16"))
    bf16 = reading.get("bf16", bf16)
    bf16 = not fp16 if bf16 == "auto" else bool(bf16)
    half = [reading.get(key) for key in ("float16", "load_in_8bit")]
    stored = "float16" if fp16 or any(half) else "float32"
    return {
        "param_dtype": "bfloat16" if reading.get("bfloat16") or bf16 else stored,
        "mixed_precision": "bf16" if bf16 else "fp16" if fp16 else "no",
    }


def _read_batch(reading: Reading) -> dict[str, Any]:
    rows = reading.get("micro_batch_size", DEFAULTS["micro_batch_size"])
    length = reading.get("sequence_len", DEFAULTS["sequence_len"])
    passes = reading.get("gradient_accumulation_steps")
    if passes is None and "batch_size" in reading:
        batch = count(reading.get("batch_size"), "batch_size")
        passes = max(batch // count(rows, "micro_batch_size"), 1)
    evaluates = reading.get("val_set_size") or reading.get("test_datasets")
    for key, most in (("eval_batch_size", rows), ("eval_sequence_len", length)):
        if (real(reading.get(key)) or 0) > (real(most) or 0) and evaluates:
            reading.uncounted(key, "too_little", "evaluation takes a larger batch than training")
    return {
        "max_seq_len": length,
        "micro_batch_size": rows,
        "gradient_accumulation_steps": passes or DEFAULTS["gradient_accumulation_steps"],
        "num_epochs": reading.get("num_epochs", DEFAULTS["num_epochs"]),
        "padded": not any([reading.get("sample_packing"), reading.get("batch_flattening")]),
    }


def _expression(pattern: Any) -> Any:
    """Return the regular expression of a pattern: a dot is one, and a range of rows may follow.

    The rows outside of it have gradients too, which are set to zero (utils/freeze.py).
    """
    if not isinstance(pattern, str):
        return pattern
    name = re.sub(r"(?<=.)\[\d*(:\d*)?\]$", "", pattern)
    literal = re.sub(r"\.(?!\+)", r"\.", name)
    return literal if literal.startswith("^") and "|" not in literal else f"^(?:{literal})"


def _read_optimizer(reading: Reading, choices: Mapping[str, Any], method: str) -> dict[str, Any]:
    name = reading.get("optimizer", DEFAULTS["optimizer"])
    if "optim" in choices:
        return {}
    same = OPTIMIZERS if method == "sft" else {**OPTIMIZERS, **ADAPTER_OPTIMIZERS}
    name = word(name, same, name)
    if isinstance(name, str) and name in NEAREST_OPTIMIZERS:
        name, effect, why = NEAREST_OPTIMIZERS[name]
        reading.uncounted("optimizer", effect, f"{why}: {name} is counted", "optim")
    elif isinstance(name, str) and name not in _options("optim"):
        raise ConfigError(
            f"Axolotl's optimizer: {shown(name)} is not estimated here: give optim, which wins "
            "over the file, with one whose states take as much memory."
        )
    return {"optim": name}


def _options(field: str) -> Mapping[str, str]:
    """Return the options of a field: name -> label."""
    options: Mapping[str, str] = TrainingConfig.fields()[field].metadata["options"]
    return options


def _read_attention(reading: Reading, choices: Mapping[str, Any]) -> dict[str, Any]:
    switched_on = [name for key, name in ATTENTION_SWITCHES.items() if reading.get(key)]
    name = reading.get("attn_implementation", (switched_on or [DEFAULTS["attn_implementation"]])[0])
    if "attn_implementation" in choices:
        return {}
    if isinstance(name, str):
        if name in FUSED_ATTENTION or "/" in name:  # a kernel by its path on the Hub
            name = "flash_attention_2"
        elif name not in _options("attn_implementation"):
            raise ConfigError(
                f"Axolotl's attn_implementation: {shown(name)} is not estimated here: give "
                "attn_implementation, which wins over the file."
            )
    return {"attn_implementation": name}


def _read_plugins(reading: Reading) -> dict[str, Any]:
    """Return the kernels of plugins, whose keys do nothing where the plugin is not listed."""
    plugins = {str(each).rpartition(".")[2] for each in _several(reading.get("plugins", []))}
    for name in sorted(plugins):
        if name in OTHER_RUNS:
            raise ConfigError(
                f"Axolotl's {name} makes it a run of {OTHER_RUNS[name]}, which is not estimated "
                "here; take it out to estimate the rest as a fine-tune."
            )
        if name not in (*KERNELS, *PLUGINS):
            reading.note("unknown", f"What the plugin {shown(name)} does is not counted")
    missing = tuple(start for name, start in KERNELS.items() if name not in plugins)

    def is_on(key: str, default: bool = False) -> bool:
        return bool(reading.get(key, default)) and not key.startswith(missing)

    # cut cross-entropy is on once its plugin is listed
    losses = [loss for loss, key in LOSSES.items() if is_on(key, default=loss == "cut")]
    loss = (losses or ["eager"])[0]
    if loss == "chunked":  # monkeypatch/loss/chunked.py
        why = "all logits are made before they are split"
        reading.uncounted("chunked_cross_entropy", "too_little", why, "loss_kernel")
    layers = {key: is_on(key) for key in LIGER}
    layers["liger_glu_activation"] |= is_on("liger_swiglu")  # its old name
    if loss in ("liger", "cut") and all(layers.values()):
        return {"use_liger": True, "loss_kernel": "eager" if loss == "liger" else loss}
    for key in (key for key, on in layers.items() if on):
        reading.note("too_much", f"{key} is not counted, whose kernel saves less", "use_liger")
    return {"loss_kernel": loss}


def _several(value: Any) -> list[Any]:
    """Return a list of values, of a single one that alone."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _read_lora_kernels(reading: Reading, fsdp: Reading, found: Mapping[str, Any]) -> None:
    """Say that Axolotl's kernels for adapters are not counted: they are on unasked.

    Source: check_auto_enable_lora_kernels in schemas/config.py.
    """
    written = [key for key in LORA_KERNELS if key in reading]
    on = [key for key in written if reading.get(key)]
    unasked = not (
        written
        or found.get("quantization") == "int8"
        or reading.get("trust_remote_code")
        or reading.get("nvfp4_merge_aware")
        or _is_fsdp1(reading, fsdp, found)
    )
    if on or unasked:
        keys = ", ".join(on) if on else "lora_mlp_kernel and others, on by default"
        reading.note("too_much", f"Axolotl's kernels for adapters save less than PEFT's ({keys})")


def _is_fsdp1(reading: Reading, fsdp: Reading, found: Mapping[str, Any]) -> bool:
    """Return whether FSDP runs in version 1, as where none is given (schemas/validation.py)."""
    version = reading.get("fsdp_version") or _old(fsdp, "version") or 1
    return found.get("sharding") in ("fsdp", "hsdp") and str(version) != "2"


def _old(fsdp: Reading, key: str) -> Any:
    """Return what fsdp_config has for a key, or for its old name with a prefix."""
    old = fsdp.get(f"fsdp_{key}")
    return fsdp.get(key, old)


def _read_sharding(reading: Reading, choices: Mapping[str, Any], fsdp: Reading) -> dict[str, Any]:
    reading.skip("fsdp_version")
    if reading.get("deepspeed"):
        try:
            return deepspeed.beside(reading, _deepspeed(reading.get("deepspeed")), "deepspeed")
        except ConfigError:
            if "sharding" not in choices:
                raise
            return {}
    strategy = [str(each) for each in _several(reading.get("fsdp", [])) if each]
    policy = _old(fsdp, "auto_wrap_policy")
    if not (strategy or reading.get("fsdp_config")):
        return {"sharding": "device_map"} if reading.get("device_map") == "balanced" else {}
    if policy not in (None, "TRANSFORMER_BASED_WRAP"):
        why = f"The layers that {shown(policy)} makes of a model are not counted"
        reading.note("unknown", why, "sharding")
    if _old(fsdp, "reshard_after_forward") is False or "shard_grad_op" in strategy:
        why = "What FSDP leaves unsharded after forward is not counted"
        reading.note("too_little", why, "sharding")
    if _old(fsdp, "mixed_precision_policy") not in (None, "bf16"):
        fsdp.uncounted("mixed_precision_policy", "unknown", "it decides the dtype of the gradients")
    found = {"sharding": "ddp" if "no_shard" in strategy else "fsdp"}
    if any(each.startswith("hybrid_shard") for each in strategy):
        found["sharding"] = "hsdp"
    if _old(fsdp, "offload_params") or "offload" in strategy:
        found["cpu_offload"] = "all"
    if _is_fsdp1(reading, fsdp, found):
        reading.note("unknown", "FSDP of version 1 is counted as version 2", "sharding")
    return found


def _deepspeed(written: Any) -> Any:
    """Return what stands for DeepSpeed; one of Axolotl's own files is known by its name."""
    path = PurePath(written) if isinstance(written, str) else PurePath()
    is_own = path.parent.name == "deepspeed_configs" and path.suffix == ".json"
    if is_own and path.stem in DEEPSPEED_FILES and not os.path.exists(path):
        return {"zero_optimization": DEEPSPEED_FILES[path.stem]}
    return written


def _read_gpus(
    reading: Reading, choices: Mapping[str, Any], found: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what was found, with the GPUs and how they are grouped."""
    reading.skip("ray_num_workers", "dp_shard_size")
    if "num_gpus" not in choices:
        found = {**found, **_gpus(reading)}
    copies = reading.get("dp_replicate_size", 1)
    for key, why in PARALLEL.items():
        if reading.get(key, 1) != 1:
            reading.uncounted(key, "too_much", why)
    gpus = choices.get("num_gpus", found.get("num_gpus"))
    is_sharded = found.get("sharding", "ddp") != "ddp"
    if gpus is None and is_sharded:
        said = "The file shards over GPUs and does not say how many, so that one is counted"
        reading.note("too_much", f"{said}; give num_gpus", "num_gpus")
    if found.get("sharding") == "fsdp" and "dp_replicate_size" in reading:
        found = {**found, "sharding": "hsdp"}
        if gpus is not None:
            found["num_nodes"] = copies
    return dict(found)


def _gpus(reading: Reading) -> dict[str, int]:
    """Return how many GPUs the file says that it runs on, if it does."""
    if reading.get("use_ray") and "ray_num_workers" in reading:
        return {"num_gpus": count(reading.get("ray_num_workers"), "ray_num_workers")}
    if "dp_shard_size" not in reading:
        return {}
    sizes = ("dp_shard_size", "dp_replicate_size", *PARALLEL)
    return {"num_gpus": prod(count(reading.get(key, 1), key) for key in sizes)}


def _read_checkpointing(
    reading: Reading, choices: Mapping[str, Any], fsdp: Reading, method: str
) -> dict[str, Any]:
    on = reading.get("gradient_checkpointing", DEFAULTS["gradient_checkpointing"])
    offload = reading.get("activation_offloading", False)
    kwargs = reading.inside("gradient_checkpointing_kwargs")
    # only without any does utils/config set it
    reentrant = kwargs.get("use_reentrant", "gradient_checkpointing_kwargs" not in reading)
    if on in ("offload", "offload_disk"):  # the old names (schemas/validation.py)
        on, offload = True, True
    if _old(fsdp, "activation_checkpointing"):
        on = True
    if offload and not on and "gradient_checkpointing" not in choices:
        raise ConfigError("Axolotl's activation_offloading needs gradient_checkpointing: true.")
    if offload and offload != "hidden_states" and method != "sft":
        why = "With an adapter it offloads every activation in place of recomputing it"
        reading.note("unknown", f"{why}; checkpointing is counted", "offload_activations")
    return {
        "gradient_checkpointing": on,
        "offload_activations": bool(offload),
        "use_reentrant": bool(reentrant),
    }


def _read_adapter(reading: Reading, found: Mapping[str, Any]) -> dict[str, Any]:
    adapter = reading.fields(
        {
            "lora_r": "lora_r",
            "lora_alpha": "lora_alpha",
            "lora_modules_to_save": "modules_to_save",
            "lora_target_parameters": "target_parameters",
            "quantize_moe_experts": "quantize_moe_experts",
        }
    )
    adapter["lora_dropout"] = reading.get("lora_dropout", DEFAULTS["lora_dropout"])
    if "lora_r" not in adapter:
        reading.note("unknown", "The file gives no lora_r, so that 16 or 32 is counted", "lora_r")
    modules = reading.get("lora_target_modules")
    if reading.get("lora_target_linear"):
        adapter["target_modules"] = "all-linear"
        if {"embed_tokens", "lm_head"} & {str(each) for each in _several(modules)}:
            why = "adapters on the embeddings or lm_head, beside all linear modules"
            reading.uncounted("lora_target_modules", "too_little", why, "target_modules")
    elif modules:
        adapter["target_modules"] = modules
    else:
        why = "The file names no lora_target_modules, so that all linear ones are counted"
        reading.note("too_much", why, "target_modules")
    if tokens := reading.get("peft_trainable_token_indices"):
        rows = tokens.values() if isinstance(tokens, Mapping) else [tokens]
        adapter["trainable_token_indices"] = sum(len(_several(each)) for each in rows)
    if reading.get("peft_use_dora"):
        adapter["use_dora"] = True
    if reading.get("peft_autocast_adapter_dtype") is False:
        adapter["lora_dtype"] = "bfloat16"
    bnb = reading.inside("bnb_config_kwargs")
    adapter |= bnb.fields({"bnb_4bit_use_double_quant": "bnb_4bit_use_double_quant"})
    sharded = found.get("sharding") in SHARDS_PARAMETERS
    if not str(bnb.get("bnb_4bit_quant_storage", "bfloat16")).endswith(("16", "32")) and sharded:
        adapter["bnb_4bit_quant_storage"] = "uint8"
    # PEFT's k-bit preparation turns a base to float32, and load_in_4bit asks for it although
    # adapter: lora loads no 4-bit weights (loaders/model.py)
    if found["training_method"] == "lora" and reading.get("load_in_4bit") and not sharded:
        adapter["param_dtype"] = "float32"
    return adapter


def _recognises(settings: Mapping[str, Any]) -> bool:
    return "base_model" in settings


READER = Reader("axolotl", "Axolotl", 20, _recognises, from_axolotl, {"axolotl": run})
