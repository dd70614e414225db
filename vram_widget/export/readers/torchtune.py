"""Read torchtune's recipe configuration (torchtune 0.7).

A YAML file names components of torchtune, such as its model's, in place of a model of the Hub; what
is around them differs by recipe. What these files leave out, the number of GPUs and the recipe,
stands in the comment with which torchtune's own begin: the command that runs them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ...config import TrainingConfig
from ...errors import ConfigError, shown
from . import commands, source
from .reader import Reader
from .reading import Names, Reading, count

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ...config.choices import Choices
    from .source import Source

#: Our names for optimizers of torch, bitsandbytes and torchao; those in other words hold the same
#: states.
OPTIMIZERS = {
    "torch.optim.AdamW": "adamw_torch",
    "torch.optim.Adam": "adamw_torch",
    "torch.optim.SGD": "sgd",
    "torch.optim.Adafactor": "adafactor",
    "bitsandbytes.optim.AdamW": "adamw_torch",
    "bitsandbytes.optim.AdamW8bit": "adamw_bnb_8bit",
    "bitsandbytes.optim.Adam8bit": "adamw_bnb_8bit",
    "bitsandbytes.optim.PagedAdamW": "paged_adamw_32bit",
    "bitsandbytes.optim.PagedAdamW32bit": "paged_adamw_32bit",
    "bitsandbytes.optim.PagedAdamW8bit": "paged_adamw_8bit",
    "bitsandbytes.optim.Lion": "lion_32bit",
    "bitsandbytes.optim.Lion8bit": "lion_8bit",
    "torchao.optim.AdamW8bit": "adamw_torch_8bit",
    "torchao.optim.Adam8bit": "adamw_torch_8bit",
    "torchao.optim.AdamW4bit": "adamw_torch_4bit",
    "torchao.optim.Adam4bit": "adamw_torch_4bit",
}
#: Our names for the modules that lora_attn_modules can name.
ATTENTION = {"q_proj": "q_proj", "k_proj": "k_proj", "v_proj": "v_proj", "output_proj": "o_proj"}
#: Those of Phi-3 and Phi-4, which the Hub's models hold in one weight.
FUSED = {
    "q_proj": "qkv_proj",
    "k_proj": "qkv_proj",
    "v_proj": "qkv_proj",
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
}
DTYPES = {"bf16": "bfloat16", "fp32": "float32"}
#: Keys of the recipes for several GPUs alone.
DISTRIBUTED = (
    "custom_sharded_layers",
    "fsdp_cpu_offload",
    "fsdp_reshard_after_forward",
    "data_parallel_shard_dim",
    "data_parallel_replicate_dim",
    "tensor_parallel_dim",
    "context_parallel_dim",
)


def from_torchtune(settings: Source, **choices: Unpack[Choices]) -> TrainingConfig:
    r"""Return the configuration that torchtune runs with a file.

    Parameters
    ----------
    settings : mapping, str or path
        The file's content as a mapping or as YAML text, or the path of the file. In text, the
        ``tune run`` command of its comment gives the number of GPUs.
    **choices
        Fields that the file does not hold, such as `gpu` and `num_gpus`; they win.

    Warns
    -----
    ReadingWarning
        Once, of all settings that are not counted.

    Raises
    ------
    ConfigError
        If it is no YAML mapping, trains nothing, or holds a value that cannot be.

    Examples
    --------
    >>> config = from_torchtune(
    ...     "model: {_component_: torchtune.models.llama3_1.qlora_llama3_1_8b, lora_rank: 8}\n"
    ...     "tokenizer: {max_seq_len: 2048}\nloss: {_component_: torch.nn.CrossEntropyLoss}\n"
    ...     "batch_size: 4"
    ... )
    >>> config.model_path, config.training_method, config.micro_batch_size
    ('meta-llama/Meta-Llama-3.1-8B-Instruct', 'qlora', 4)
    """
    comment = ""
    if not isinstance(settings, Mapping):
        written = source.text(settings, "torchtune")
        comment = "\n".join(re.findall(r"^\s*#.*", written, re.MULTILINE))
        settings = source.opened(written if written.endswith("\n") else f"{written}\n", "torchtune")
    return read(settings, choices, comment)


def read(
    settings: Mapping[str, Any], choices: Mapping[str, Any], comment: str = ""
) -> TrainingConfig:
    """Return the configuration of settings and of the comment that stands before them."""
    resolved = {key: _resolved(value, settings) for key, value in settings.items()}
    reading = Reading("torchtune", resolved, Names.of("torchtune"))
    loss = str(reading.inside("loss").get("_component_", ""))
    _check_kind(reading, loss)
    model = reading.inside("model")
    component = str(model.get("_component_", "")).rpartition(".")[2]
    found: dict[str, Any] = {"trainer": "torchtune", **_method(model, component)}
    if name := _model(component, _checkpoint(reading), comment):
        found["model_path"] = name
    found |= _precision(reading)
    if "lora_r" in found:
        found |= _adapter(model, component)
        found["lora_dtype"] = found["param_dtype"]  # set_default_dtype holds for adapters too
    found |= _batch(reading) | _optimizer(reading)
    found |= _savers(reading) | _loss(reading, loss)
    found |= _hardware(reading, choices, comment)
    return reading.configuration(found, choices, "model._component_")


def run(words: Sequence[str], choices: Mapping[str, Any]) -> TrainingConfig:
    """Return the configuration of the words that follow ``tune``.

    Raises
    ------
    ConfigError
        If they run no fine-tune, or name a file of torchtune's own that is not known here.
    """
    recipe = next((word for word in words if re.fullmatch(r"\w*(finetune|qat)\w*", word)), None)
    name = commands.options(words)[0].get("config")
    if isinstance(name, list):
        name = name[0]
    if recipe is None or not isinstance(name, str):
        raise ConfigError(
            f"{shown(' '.join(['tune', *words[:6]]))} starts no fine-tune that is known here: give "
            "tune run, a recipe and --config."
        )
    if name in _table("recipes"):
        settings: Mapping[str, Any] = _table("recipes")[name]
    elif name.endswith((".yaml", ".yml")):
        settings = source.opened(name, "torchtune")
    else:
        raise ConfigError(
            f"The content of torchtune's own {shown(name)} is not known here: write it to a file "
            "with tune cp, and give that."
        )
    place = list(words).index(recipe)
    start = {"num_gpus": 1} if "single_device" in recipe else commands.launch(words[:place])
    changes = [word for word in words[place + 1 :] if re.match(r"~|\w[^=]*=", word)]
    return read(_changed(settings, changes), {**start, **choices})


def _changed(settings: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return settings with what a command line changes: ``outer.inner=value`` and ``~key``."""
    changed: dict[str, Any] = deepcopy(dict(settings))
    for change in changes:
        path, _, value = change.removeprefix("~").partition("=")
        *outer, key = path.split(".")
        inside = changed
        for each in outer:
            held = inside.get(each)
            inside[each] = held if isinstance(held, dict) else {}
            inside = inside[each]
        if change.startswith("~"):
            inside.pop(key, None)
        elif isinstance(inside.get(key), dict) and "_component_" in inside[key]:
            inside[key]["_component_"] = value  # as _merge_yaml_and_cli_args in config/_utils.py
        else:
            inside[key] = commands.value(value)
    return changed


@cache
def _table(name: str) -> dict[str, Any]:
    """Return what names/torchtune.json has beside the names of settings.

    ``models``: the Hub's model for each builder, the one that torchtune's own files train;
    ``recipes``: what decides memory in those of its own files that Kubeflow's runtimes name.
    """
    text = (files(__package__) / "names" / "torchtune.json").read_text("utf-8")
    table: dict[str, Any] = json.loads(text)[name]
    return table


def _resolved(value: Any, settings: Mapping[str, Any], depth: int = 0) -> Any:
    """Return a value with OmegaConf's ``${outer.inner}`` replaced by what stands there."""
    if depth > 20:
        raise ConfigError(f"torchtune's {shown(value)} refers to itself.")
    if isinstance(value, Mapping):
        return {key: _resolved(each, settings, depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_resolved(each, settings, depth + 1) for each in value]
    if not (isinstance(value, str) and (reference := re.fullmatch(r"\$\{([\w.]+)\}", value))):
        return value
    found: Any = settings
    for key in reference[1].split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return _resolved(found, settings, depth + 1)


def _check_kind(reading: Reading, loss: str) -> None:
    """Refuse what is no fine-tune on text."""
    for kind in ("DPO", "GRPO", "PPO", "RLHF"):
        if kind in loss.upper():
            raise ConfigError(
                f"torchtune's loss {shown(loss)} makes it a run of {kind}, which is not estimated "
                "here; take it out to estimate the rest as a fine-tune."
            )
    if "quantizer" in reading:
        if "optimizer" not in reading and "batch_size" not in reading:
            raise ConfigError("These settings of torchtune quantise a model, and train nothing.")
        why = "weights and inputs are rounded in forward, which keeps more for backward"
        reading.uncounted("quantizer", "too_little", why)
    if reading.get("device") == "cpu":
        raise ConfigError("These settings of torchtune run on the CPU: there is no GPU memory.")


def _method(model: Reading, component: str) -> dict[str, Any]:
    if re.match("(q?lora_)?(llama4|.*vision)", component):
        raise ConfigError(
            f"torchtune's {shown(component)} trains on images beside text, which is not estimated "
            "here."
        )
    kind = re.match("q?lora_", component)
    if not kind:
        return {"training_method": "sft"}
    quantised = model.get("quantize_base", kind[0] == "qlora_")
    return {
        "training_method": "qlora" if quantised else "lora",
        # the builders' own: models/*/_model_builders.py
        "lora_r": model.get("lora_rank", 8),
        "lora_alpha": model.get("lora_alpha", 16),
        "lora_dropout": model.get("lora_dropout", 0.0),
        "use_dora": model.get("use_dora", False),
    }


def _adapter(model: Reading, component: str) -> dict[str, Any]:
    modules = model.get("lora_attn_modules", ["q_proj", "v_proj"])
    if not isinstance(modules, list) or any(str(each) not in ATTENTION for each in modules):
        raise ConfigError(
            f"torchtune's lora_attn_modules are among {', '.join(ATTENTION)}, not {shown(modules)}."
        )
    names = [ATTENTION[each] for each in modules]
    if model.get("apply_lora_to_mlp"):
        names += ["gate_proj", "down_proj", "up_proj"]
    if model.get("apply_lora_to_output"):
        names.append("lm_head")
    if "_phi" in component:
        names = list(dict.fromkeys(FUSED.get(name, name) for name in names))
        model.note(
            "unknown",
            "torchtune adapts query, key, value, gate and up by themselves, which the Hub's model "
            "holds in two weights",
            "target_modules",
        )
    return {"target_modules": names}


def _model(component: str, checkpoint: str, comment: str) -> str | None:
    """Return the Hub's model: downloaded to the checkpoint's folder, or by the builder's name."""
    folder = checkpoint.rstrip("/").removesuffix("/original").rpartition("/")[2]
    downloads = re.findall(r"\bdownload ([\w.-]+/([\w.-]+))", comment)
    named = [model for model, name in downloads if folder and name == folder]
    return named[0] if named else _table("models").get(re.sub("^q?lora_", "", component))


def _checkpoint(reading: Reading) -> str:
    return str(reading.inside("checkpointer").get("checkpoint_dir", ""))


def _precision(reading: Reading) -> dict[str, Any]:
    dtype = reading.get("dtype", "fp32")  # get_dtype in training/precision.py
    return {"mixed_precision": "no", "param_dtype": DTYPES.get(str(dtype), dtype)}


def _batch(reading: Reading) -> dict[str, Any]:
    same = {
        "batch_size": "micro_batch_size",
        "gradient_accumulation_steps": "gradient_accumulation_steps",
        "epochs": "num_epochs",
    }
    found = reading.fields(same)
    found["padded"] = not _packed(reading)
    tokenizer = reading.inside("tokenizer")
    if "max_seq_len" in tokenizer:
        found["max_seq_len"] = tokenizer.get("max_seq_len")
    else:
        reading.note(
            "unknown",
            "tokenizer.max_seq_len is not set, so that a batch is as long as its longest sample; "
            f"give max_seq_len, which counts as {TrainingConfig().max_seq_len:,} here",
            "max_seq_len",
        )
    validation = reading.get("batch_size_val")
    if isinstance(validation, int) and validation > found.get("micro_batch_size", validation):
        reading.uncounted("batch_size_val", "too_little", "validation has the larger batch")
    return found


def _packed(reading: Reading) -> bool:
    if isinstance(data := reading.get("dataset"), list):
        return any(isinstance(each, Mapping) and bool(each.get("packed")) for each in data)
    return isinstance(data, Mapping) and bool(reading.inside("dataset").get("packed"))


def _optimizer(reading: Reading) -> dict[str, Any]:
    found = {"optimizer_in_backward": bool(reading.get("optimizer_in_bwd"))}
    optimizer = reading.inside("optimizer")
    component = optimizer.get("_component_")
    if component is None:
        return found
    # an older name of the module
    component = str(component).replace("torchao.prototype.low_bit_optim.", "torchao.optim.")
    name = OPTIMIZERS.get(component)
    if component.endswith(".CPUOffloadOptimizer"):
        return {**found, "optim": "adamw_torch", "cpu_offload": "optimizer"}
    if component == "torchao.optim.AdamWFp8":  # a byte a value too
        name = "adamw_torch_8bit"
    if name is None:
        name = "adamw_torch"
        optimizer.uncounted("_component_", "unknown", "its states count as AdamW's", "optim")
    if name == "adamw_torch" and optimizer.get("fused"):
        name = "adamw_torch_fused"
    if name == "sgd" and optimizer.get("momentum"):
        optimizer.uncounted("momentum", "too_little", "one more state of each weight", "optim")
    return {**found, "optim": name}


def _savers(reading: Reading) -> dict[str, Any]:
    """Read activation checkpointing: _setup_model in recipes/full_finetune_distributed.py."""
    found = {"offload_activations": bool(reading.get("enable_activation_offloading"))}
    full, mode = bool(reading.get("enable_activation_checkpointing")), reading.get("ac_mode")
    every = reading.get("ac_option")
    if mode is None:
        found["gradient_checkpointing"] = full
    elif full:  # ac_mode switches the one off, and waits for it to be off
        found["gradient_checkpointing"] = False
    else:
        every_layer = mode == "full" or (mode == "selective" and str(every) in ("0", "1"))
        found["gradient_checkpointing"] = every_layer
        if mode == "selective" and not every_layer:
            why = f"one layer in {shown(every)} is checkpointed"
            reading.uncounted("ac_mode", "too_much", why, "gradient_checkpointing")
    return found


def _loss(reading: Reading, loss: str) -> dict[str, Any]:
    """Read the loss and what torch.compile does to it.

    CEWithChunkedOutputLoss takes logits that the model has made of all tokens: they wait beside
    the log-probabilities, where LinearCrossEntropyLoss makes those of a part at a time.
    """
    if reading.get("compile"):
        reading.uncounted("compile", "unknown", "it fuses norms, activations and the loss")
    if loss == "torch.nn.CrossEntropyLoss":
        return {"loss_kernel": "eager"}
    if loss.endswith("CEWithChunkedOutputLoss"):
        return {"loss_kernel": "fused"}
    return {"loss_kernel": "chunked"}


def _hardware(reading: Reading, choices: Mapping[str, Any], comment: str) -> dict[str, Any]:
    command = re.search(r"\btune run\b(.*)", comment)
    found = commands.launch(command[1].split()) if command else {}
    if "num_gpus" in choices:  # another launch than the comment's
        found.clear()
    degrees = {
        name: reading.get(f"{name}_dim", 1)
        for name in ("data_parallel_replicate", "tensor_parallel", "context_parallel")
    }
    shards = reading.get("data_parallel_shard_dim", -1)
    replicas = count(degrees["data_parallel_replicate"], "data_parallel_replicate_dim")
    if shards != -1:
        found["num_gpus"] = count(shards, "data_parallel_shard_dim")
        for name, degree in degrees.items():
            found["num_gpus"] *= count(degree, f"{name}_dim")
    gpus = choices.get("num_gpus", found.get("num_gpus"))
    if gpus is None and any(key in reading for key in DISTRIBUTED):
        reading.note(
            "unknown",
            "It is a file for several GPUs, whose number it does not hold: give num_gpus; one "
            "counts here",
            "num_gpus",
        )
    reshards = reading.get("fsdp_reshard_after_forward", True)
    layers = reading.get("custom_sharded_layers")
    offloads = reading.get("fsdp_cpu_offload") or reading.inside("fsdp").get("cpu_offload")
    if gpus in (None, 1):  # nothing is sharded: shard_model is called for several ranks alone
        return found
    for name in ("tensor_parallel", "context_parallel"):
        if degrees[name] != 1:
            reading.uncounted(f"{name}_dim", "too_much", "each GPU counts whole sequences")
    if replicas > 1:
        found["sharding"] = "hsdp"
        if choices.get("num_nodes", found.get("num_nodes", 1)) != replicas:
            reading.uncounted(
                "data_parallel_replicate_dim",
                "unknown",
                "each node counts as a replica",
                "sharding",
            )
    elif not reshards:  # FSDP's SHARD_GRAD_OP
        found["sharding"] = "zero2"
    if offloads:
        found["cpu_offload"] = "all"
    if layers:
        reading.uncounted(
            "custom_sharded_layers", "too_much", "they count as unsharded for all of the step"
        )
    return found


def _recognises(settings: Mapping[str, Any]) -> bool:
    parts = (settings.get(key) for key in ("model", "tokenizer", "checkpointer", "loss"))
    return any(isinstance(part, Mapping) and "_component_" in part for part in parts)


READER = Reader("torchtune", "torchtune", 10, _recognises, from_torchtune, {"tune": run})
