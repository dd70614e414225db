"""The fields of a configuration as keywords, for editors and type checkers.

A type checker cannot read a trait's options and bounds: each field of `TrainingConfig` stands here
again, with the type of what it takes; tests/test_config.py holds the two equal. Only the names of
the trainers do not: each of those has a file of its own.
"""

from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from typing import Literal, TypedDict

from .uncounted import Uncounted

Method = Literal["sft", "lora", "qlora", "osft"]
Objective = Literal["sft"]
AdapterDtype = Literal["float32", "bfloat16"]
Quantization = Literal["nf4", "int8", "gptq", "awq", "fp8", "mxfp4"]
QuantStorage = Literal["bfloat16", "uint8"]
ParamDtype = Literal["float32", "bfloat16", "float16"]
MixedPrecision = Literal["no", "bf16", "fp16"]
Optimizer = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_8bit",
    "adamw_bnb_8bit",
    "adamw_torch_8bit",
    "adamw_torch_4bit",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "adafactor",
    "lion_32bit",
    "lion_8bit",
    "sgd",
]
Attention = Literal["eager", "sdpa", "flash_attention_2"]
LossKernel = Literal["eager", "fused", "chunked", "liger", "cut"]
Sharding = Literal["ddp", "zero1", "zero2", "zero3", "fsdp", "hsdp", "device_map"]
Offload = Literal["none", "optimizer", "parameters", "all"]
MemoryModel = Literal["replay", "training_hub", "rule_of_thumb"]


class Choices(TypedDict, total=False):
    """Any field of `TrainingConfig`, by name."""

    model_path: str | PathLike[str]

    training_method: Method
    objective: Objective
    trainer: str
    lora_r: int
    lora_alpha: float
    lora_dropout: float
    target_modules: str | Collection[str]
    target_parameters: Collection[str] | None
    modules_to_save: Collection[str] | None
    trainable_token_indices: int | None
    trainable_parameters: Collection[str] | None
    use_dora: bool
    lora_dtype: AdapterDtype
    quantization: Quantization
    bnb_4bit_use_double_quant: bool
    quantize_moe_experts: bool
    bnb_4bit_quant_storage: QuantStorage
    prepare_model_for_kbit_training: bool
    unfreeze_rank_ratio: float

    micro_batch_size: int
    max_seq_len: int
    max_tokens_per_gpu: int | None
    gradient_accumulation_steps: int
    sync_each_batch: bool
    padded: bool

    param_dtype: ParamDtype
    mixed_precision: MixedPrecision
    optim: Optimizer
    optimizer_in_backward: bool

    gradient_checkpointing: bool
    use_reentrant: bool
    offload_activations: bool
    attn_implementation: Attention
    loss_kernel: LossKernel
    keeps_outputs: bool
    use_liger: bool
    pytorch_alloc_conf: str

    gpu: str | None
    gpu_memory: int | str | None
    num_gpus: int
    num_nodes: int
    sharding: Sharding
    cpu_offload: Offload
    zero_optimization: Mapping[str, int | str] | None

    num_samples: int
    tokens_per_sample: int
    num_epochs: float
    gpu_hour_price: float | None

    memory_model: MemoryModel
    uncounted: Sequence[Uncounted]
