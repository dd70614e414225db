"""Training Hub: the keywords of ``sft``, ``osft`` and ``lora_sft`` (training-hub 0.11).

The same names, as flat YAML, are a file for ``thub sft | osft | lora-sft --config``. What the
configuration does not know is the caller's to add: `data_path`, `ckpt_output_dir`, `learning_rate`.
"""

from __future__ import annotations

from ..config import TrainingConfig
from ..errors import ConfigError
from ..trainers.training_hub import TRAINER
from .draft import Draft
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


def samples_per_pass(config: TrainingConfig) -> int:
    """Return how many samples of average length fill one GPU's pass."""
    return max(1, int(config.tokens // config.tokens_per_sample))


def _packed(draft: Draft) -> None:
    """Write the batch of the trainers that pack samples up to a number of tokens."""
    config = draft.config
    draft.put("max_tokens_per_gpu", config.tokens, "max_tokens_per_gpu", "micro_batch_size")
    samples = samples_per_pass(config) * config.num_gpus * config.gradient_accumulation_steps
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
    if config.num_gpus > 1 and config.sharding == "device_map":
        draft.put("enable_model_splitting", True, "sharding")
        draft.note(
            f"Start it as one process: it spreads the layers over the {config.num_gpus} GPUs "
            "that it sees."
        )
    elif config.num_gpus > 1:
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
