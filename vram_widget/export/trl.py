"""TRL: the fields of SFTConfig, LoraConfig and BitsAndBytesConfig (trl 1.16, transformers 5.23).

With `s` the settings, ``SFTTrainer(model=s["model"], args=SFTConfig(**s["SFTConfig"]),
train_dataset=..., peft_config=LoraConfig(**s["LoraConfig"]),
quantization_config=BitsAndBytesConfig(**s["BitsAndBytesConfig"]))``, started with
``accelerate launch --config_file`` and a file of what is under ``accelerate``. Which ZeRO or FSDP
it is, SFTConfig says. A checkpoint that is quantised already has its own class, such as GPTQConfig,
in place of BitsAndBytesConfig.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import TrainingConfig
from ..model import catalog
from ..trainers import SHARDS_PARAMETERS, TRAINERS
from ..trainers.trl import TRAINER
from . import deepspeed
from .draft import SYNC_EACH_BATCH, Draft
from .target import Target

#: Fields of SFTConfig that take ours as they are.
ARGUMENTS = {
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "max_length": "max_seq_len",
    "num_train_epochs": "num_epochs",
    "optim": "optim",
    "activation_checkpointing": "gradient_checkpointing",
    "activation_offloading": "offload_activations",
    "use_liger_kernel": "use_liger",
}

#: Fields of LoraConfig likewise.
LORA = {
    "r": "lora_r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "target_modules": "target_modules",
    "use_dora": "use_dora",
}

#: Fields of LoraConfig that are left out where they are none.
LORA_NAMES = {"target_parameters": "target_parameters", "modules_to_save": "modules_to_save"}

#: LoraConfig's own defaults (peft 0.21).
DEFAULTS = {"r": 8, "lora_alpha": 8, "lora_dropout": 0.0}

#: What 4-bit weights must be packed into for FSDP and ZeRO-3 to shard them: NF4 is packed into the
#: compute dtype, as PEFT's guides to FSDP and DeepSpeed have it. Accelerate does not shard others
#: (fsdp2_prepare_model in utils/fsdp_utils.py).
FLOATS = ("float16", "float32", "float64")

#: Of a checkpoint that is quantised already, the class that loads it so, and what that must be
#: given; whatever else it has, the checkpoint's own settings win (quantizers/auto.py).
CHECKPOINTS: dict[str, tuple[str, dict[str, Any]]] = {
    "gptq": ("GPTQConfig", {"bits": 4}),
    "awq": ("AwqConfig", {}),
    "fp8": ("FineGrainedFP8Config", {}),
    "mxfp4": ("Mxfp4Config", {}),
}

#: What `from_trl` reads.
READ = (
    *("model", "SFTConfig", "LoraConfig", "BitsAndBytesConfig"),
    *(name for name, _ in CHECKPOINTS.values()),
    "accelerate",
)

#: Keyword arguments of from_pretrained likewise.
LOADING = {"dtype": "param_dtype", "attn_implementation": "attn_implementation"}


def export(config: TrainingConfig) -> Draft:
    """Return the model, and the fields of each class that SFTTrainer takes."""
    draft = Draft(config, TRAINER)
    draft.model("model")
    draft.put("SFTConfig", _arguments(draft))
    if config.adapts:
        adapter = {**_taken(draft, LORA), "target_modules": _targets(config)}
        names = _taken(draft, LORA_NAMES)
        adapter |= {key: each for key, each in names.items() if each is not None}
        draft.put("LoraConfig", {"task_type": "CAUSAL_LM", "bias": "none", **adapter})
        draft.tokens("LoraConfig's trainable_token_indices")
    if config.training_method == "qlora":
        _quantised(draft)
    if config.num_gpus > config.num_processes:
        draft.cover("num_gpus", "num_nodes")
        draft.note(
            f"Start it as one process: it spreads the layers over the {config.num_gpus} GPUs "
            "that it sees."
        )
    elif config.num_gpus > 1:
        launch = {
            "distributed_type": "MULTI_GPU",
            "num_processes": config.num_gpus,
            "num_machines": config.num_nodes,
        }
        draft.put("accelerate", launch, "num_gpus", "num_nodes")
        if config.num_nodes > 1:
            draft.note(
                "Each node's own accelerate file also has its machine_rank, and main_process_ip "
                "and main_process_port of the first."
            )
    return draft.finish()


def _taken(draft: Draft, names: Mapping[str, str]) -> dict[str, Any]:
    draft.cover(*names.values())
    return {key: getattr(draft.config, field) for key, field in names.items()}


def _targets(config: TrainingConfig) -> str | list[str]:
    """Return the targets, PEFT's own by name where they are left to it and the model is known."""
    family = (catalog.lookup(config.model_path) or {}).get("model_type", "")
    return TRAINERS[config.trainer].target_modules(config.target_modules, family)


def _arguments(draft: Draft) -> dict[str, Any]:
    config = draft.config
    arguments = {"per_device_train_batch_size": draft.rows(), **_taken(draft, ARGUMENTS)}
    if config.gradient_checkpointing and config.use_reentrant:
        arguments["activation_checkpointing_kwargs"] = {"use_reentrant": True}
        draft.cover("use_reentrant")
    arguments["packing"] = not config.padded
    arguments["bf16"] = config.mixed_precision == "bf16"
    arguments["fp16"] = config.mixed_precision == "fp16"
    draft.cover("padded", "mixed_precision")
    arguments["model_init_kwargs"] = _taken(draft, LOADING)
    if config.num_gpus > config.num_processes:
        arguments["model_init_kwargs"]["device_map"] = "balanced"
        draft.cover("sharding")
    if not config.padded and config.attn_implementation != "flash_attention_2":
        draft.note(
            f"With {config.attn_implementation} TRL's packed samples attend to each other; "
            "with flash_attention_2 they do not."
        )
    if config.sync_each_batch:
        arguments["accelerator_config"] = SYNC_EACH_BATCH
        draft.cover("sync_each_batch")
    if config.num_gpus > 1:
        arguments |= _sharding(draft)
    return arguments


def _sharding(draft: Draft) -> dict[str, Any]:
    config = draft.config
    if deepspeed.holds(config.sharding, config.cpu_offload):
        draft.cover("sharding", "cpu_offload", "zero_optimization")
        return {"deepspeed": deepspeed.write(config)}
    if config.sharding not in ("fsdp", "hsdp"):
        return {}
    draft.cover("sharding")
    if config.sharding == "hsdp":
        draft.note("TRL shards over all GPUs: FSDP, hybrid (sharding) became FSDP.")
    options: dict[str, Any] = {"reshard_after_forward": True}
    if config.cpu_offload == "all":
        options["cpu_offload"] = True
        draft.cover("cpu_offload")
    return {"fsdp": True, "fsdp_config": options}


def _quantised(draft: Draft) -> None:
    config = draft.config
    if config.quantization == "nf4":
        half = "float16" if config.mixed_precision == "fp16" else "bfloat16"
        options = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": half,
            "bnb_4bit_use_double_quant": config.bnb_4bit_use_double_quant,
        }
        if config.num_gpus > 1 and config.sharding in SHARDS_PARAMETERS:
            integers = config.bnb_4bit_quant_storage == "uint8"
            options["bnb_4bit_quant_storage"] = "uint8" if integers else half
            draft.cover("bnb_4bit_quant_storage")
        draft.put("BitsAndBytesConfig", options, "quantization", "bnb_4bit_use_double_quant")
    elif config.quantization == "int8":
        draft.put("BitsAndBytesConfig", {"load_in_8bit": True}, "quantization")
    else:
        name, options = CHECKPOINTS[config.quantization]
        draft.put(name, dict(options), "quantization")
        draft.note(f"The checkpoint itself must be {config.quantization}: {name} only loads it.")


TARGET = Target.of(TRAINER, export)
