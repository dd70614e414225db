"""Make grid.csv: traced training steps of every family by every method.

    python tests/reference/make_grid.py              # all rows, some minutes
    python tests/reference/make_grid.py --only qwen3  # trace these anew, keep the others

Each row is one run of the real transformers and PEFT code on fake tensors (vram_widget.trace).
The configs beside this script are those of published models with fewer layers, so that a row
takes seconds; nothing else about them is changed.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vram_widget import TrainingConfig
from vram_widget.step.timeline import COMPONENTS
from vram_widget.trace import Trace, trace

HERE = Path(__file__).parent
GRID = HERE / "grid.csv"
CONFIGS = HERE / "configs"

Choices = dict[str, Any]

#: Every choice that a row makes; what a row does not name is as here. The trainer's own defaults
#: play no part.
PLAIN: Choices = {
    "trainer": "trl",
    "training_method": "sft",
    "param_dtype": "bfloat16",
    "mixed_precision": "no",
    "optim": "adamw_torch_fused",
    "micro_batch_size": 2,
    "max_seq_len": 512,
    "gradient_accumulation_steps": 1,
    "gradient_checkpointing": False,
    "use_reentrant": False,
    "offload_activations": False,
    "attn_implementation": "sdpa",
    "loss_kernel": "eager",
    "use_liger": False,
    "padded": False,
    "num_gpus": 1,
    "sharding": "ddp",
}

LORA: Choices = {
    "training_method": "lora",
    "lora_r": 16,
    "lora_dropout": 0.0,
    "target_modules": "all-linear",
    "lora_dtype": "float32",
    "use_dora": False,
}

#: bitsandbytes' linears are stood in for (vram_widget/trace/quantized.py).
#: Axolotl prepares a quantised base by PEFT's prepare_model_for_kbit_training, and casts norms and
#: embeddings back.
QLORA: Choices = {
    **{**LORA, "training_method": "qlora", "trainer": "axolotl"},
    "bnb_4bit_use_double_quant": True,
}

OSFT: Choices = {
    "trainer": "training_hub",
    "training_method": "osft",
    "unfreeze_rank_ratio": 0.25,
    "param_dtype": "float32",
    "mixed_precision": "bf16",
}

METHODS: dict[str, Choices] = {
    "bf16": {},
    "fp32-autocast": {"param_dtype": "float32", "mixed_precision": "bf16"},
    "fp32": {"param_dtype": "float32"},
    "lora": LORA,
    "lora-autocast": {**LORA, "mixed_precision": "bf16"},
    "lora-dropout": {**LORA, "mixed_precision": "bf16", "lora_dropout": 0.05},
    "lora-dropout-plain": {**LORA, "lora_dropout": 0.05},
    "lora-bf16": {**LORA, "lora_dtype": "bfloat16"},
    "lora-bf16-dropout": {**LORA, "lora_dtype": "bfloat16", "lora_dropout": 0.05},
    "lora-fp32": {**LORA, "param_dtype": "float32", "mixed_precision": "bf16"},
    "dora": {**LORA, "use_dora": True},
    "dora-autocast": {**LORA, "use_dora": True, "mixed_precision": "bf16"},
    "lora-qv": {**LORA, "target_modules": ["q_proj", "v_proj"], "lora_r": 8},
    "qlora": {**QLORA, "mixed_precision": "bf16"},
    "qlora-plain": QLORA,
    "qlora-single": {**QLORA, "mixed_precision": "bf16", "bnb_4bit_use_double_quant": False},
    # Unsloth and torchtune leave what is not quantised in bfloat16.
    "qlora-not-upcast": {**QLORA, "trainer": "unsloth"},
    "qlora-not-upcast-autocast": {**QLORA, "trainer": "unsloth", "mixed_precision": "bf16"},
    "qlora-trl": {**QLORA, "trainer": "trl", "mixed_precision": "bf16"},
    "qlora-prepared": {
        **{**QLORA, "trainer": "trl", "mixed_precision": "bf16"},
        "prepare_model_for_kbit_training": True,
    },
    "qlora-dropout": {**QLORA, "mixed_precision": "bf16", "lora_dropout": 0.05},
    "qlora-int8": {**QLORA, "mixed_precision": "bf16", "quantization": "int8"},
    "qlora-int8-plain": {**QLORA, "quantization": "int8"},
}

CHECKPOINTING: Choices = {"gradient_checkpointing": True}
EAGER: Choices = {"attn_implementation": "eager"}
FLASH: Choices = {"attn_implementation": "flash_attention_2"}

Row = tuple[str, str, Choices]


def rows() -> Iterator[Row]:
    """Yield each row's id, config and choices, the llama-like families first."""
    for model in ("llama-3.2-1b", "mistral-7b", "qwen2.5-0.5b", "granite-3.3-2b"):
        yield from every_method(model)
    for model in ("llama-2-7b", "smollm2-135m", "qwen2.5-7b"):
        yield from main_methods(model)
    for model in ("llama-3.2-1b", "mistral-7b"):
        yield from osft(model)
        yield from sharded(model)
        yield from flattened(model)
    yield from sharded_at_depth()
    yield from sharded_unevenly()
    yield from prepared()
    yield from other_choices()
    yield from seldom_together()
    yield from beside_adapters()
    yield from frozen()
    yield from cast_by_axolotl()
    yield from reentrant()
    yield from quantised_experts()
    for model in DENSE + EXPERTS + HYBRIDS:
        yield from a_few_methods(model)
    yield from long_sequences()


#: transformers has no SDPA attention for these.
WITHOUT_SDPA = ("gemma-2-2b", "gpt-oss-20b")
DENSE = (
    *("qwen3-0.6b", "qwen3-4b", "gemma-2b", "gemma-2-2b", "gemma-3-1b", "gemma-3-4b-text"),
    *("gemma-4-31b", "gemma-4-e2b", "phi-1.5", "phi-2", "phi-3-mini", "phi-4-mini", "olmo-2-7b"),
    *("falcon-7b", "falcon-40b", "falcon3-1b", "pythia-1b", "stablelm-alpha-3b"),
    *("stablelm-2-1.6b", "starcoderbase-1b", "gpt2", "cohere2-7b", "smollm3-3b"),
    "granite-4.0-micro",
)
#: transformers runs all experts in one grouped product: its tensors depend on how many experts a
#: token goes to, not on which, so nothing needs to be assumed about the routing.
EXPERTS = (
    *("mixtral-8x7b", "qwen3-30b-a3b", "qwen1.5-moe-a2.7b", "granite-3.1-3b-a800m"),
    *("olmoe-1b-7b", "gpt-oss-20b", "deepseek-v2-lite", "deepseek-v3", "gemma-4-26b-a4b"),
    "glm-4.5-air",
)
#: Mamba and linear attention in transformers' own PyTorch code, which it falls back to without
#: the packages that hold their kernels (mamba_ssm, causal_conv1d, flash-linear-attention).
HYBRIDS = (
    *("granite-4.0-h-350m", "granite-4.0-h-tiny", "falcon-h1-3b", "qwen3.5-4b"),
    *("qwen3.5-35b-a3b", "lfm2-2.6b"),
)
#: PEFT refuses "all-linear" where it would reach the output projection of a Mamba layer.
TARGETS = {
    "falcon-h1-3b": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
}


def a_few_methods(model: str) -> Iterator[Row]:
    """Yield a model by the methods that differ most."""
    attention = EAGER if model in WITHOUT_SDPA else {}
    for method, extra in (
        ("bf16", {}),
        ("bf16", CHECKPOINTING),
        ("fp32-autocast", {}),
        ("fp32-autocast", CHECKPOINTING),
        ("lora", {}),
        ("lora-autocast", {}),
        ("lora-autocast", CHECKPOINTING),
        ("bf16", FLASH if attention else EAGER),
    ):
        choices = {**METHODS[method], **attention, **extra}
        if model in TARGETS and "target_modules" in choices:
            choices["target_modules"] = TARGETS[model]
        words = [model, method]
        words += ["checkpointing"] * (extra is CHECKPOINTING)
        words += ["eager"] * (extra is EAGER) + ["flash"] * (extra is FLASH)
        yield " ".join(words), model, choices
    if model in QUANTIZED:
        yield f"{model} qlora", model, {**METHODS["qlora"], **attention}
        yield (
            f"{model} qlora checkpointing",
            model,
            {**METHODS["qlora"], **attention, **CHECKPOINTING},
        )
    for length in WINDOWS.get(model, ()):
        choices = {**METHODS["bf16"], **attention, "micro_batch_size": 1, "max_seq_len": length}
        yield f"{model} bf16 {length} tokens", model, choices
        yield f"{model} bf16 {length} tokens flash", model, {**choices, **FLASH}


#: Of the other families, those that are also traced quantised.
QUANTIZED = ("qwen3-0.6b", "gemma-2-2b", "gemma-3-1b", "phi-3-mini", "pythia-1b", "mixtral-8x7b")

#: Lengths beyond the sliding window, and odd ones where chunks of a scan do not come out even.
WINDOWS = {
    "gemma-3-1b": (1536,),
    "gemma-4-e2b": (1536,),
    "phi-3-mini": (3000,),
    "granite-4.0-h-350m": (600,),
    "qwen3.5-4b": (100,),
}


def long_sequences() -> Iterator[Row]:
    """Yield what shows in the peak of long sequences alone: Falcon's mask, OLMo 2's norms."""
    long = {"micro_batch_size": 1, "max_seq_len": 4096}
    for model in ("falcon-7b", "falcon-40b", "olmo-2-7b"):
        for method in ("bf16", "lora", "lora-autocast"):
            yield f"{model} {method} 4096 tokens", model, {**METHODS[method], **long}


def every_method(model: str) -> Iterator[Row]:
    """Yield a model by every method, with and without checkpointing, and some of it eager."""
    for method, choices in METHODS.items():
        yield f"{model} {method}", model, choices
        yield f"{model} {method} checkpointing", model, {**choices, **CHECKPOINTING}
    for method in ("bf16", "fp32-autocast", "fp32", "lora", "lora-autocast"):
        yield f"{model} {method} eager", model, {**METHODS[method], **EAGER}
    eager = {**METHODS["bf16"], **EAGER, **CHECKPOINTING}
    yield f"{model} bf16 eager checkpointing", model, eager


def main_methods(model: str, attention: Choices | None = None) -> Iterator[Row]:
    """Yield a model by the methods that differ most."""
    attention = attention or {}
    for method in ("bf16", "fp32-autocast", "fp32", "lora", "lora-autocast", "dora"):
        yield f"{model} {method}", model, {**METHODS[method], **attention}
    for method in ("bf16", "fp32-autocast", "lora-autocast"):
        choices = {**METHODS[method], **attention, **CHECKPOINTING}
        yield f"{model} {method} checkpointing", model, choices
    if attention != EAGER:
        yield f"{model} bf16 eager", model, {**METHODS["bf16"], **EAGER}


def osft(model: str) -> Iterator[Row]:
    """Yield a model by OSFT, whose linears are stood in for (vram_widget/trace/osft.py)."""
    for ratio in (0.25, 0.5, 0.02):
        choices = {**OSFT, "unfreeze_rank_ratio": ratio}
        yield f"{model} osft {ratio}", model, choices
        yield f"{model} osft {ratio} checkpointing", model, {**choices, **CHECKPOINTING}
    yield f"{model} osft fp32", model, {**OSFT, "mixed_precision": "no"}


def sharded(model: str) -> Iterator[Row]:
    """Yield a model sharded by PyTorch's own FSDP, over GPUs that are not there."""
    methods = {name: METHODS[name] for name in ("fp32-autocast", "fp32", "bf16", "lora")}
    for method, own in {**methods, "osft": OSFT}.items():
        for gpus, nodes in ((8, 1), (2, 1), (8, 2)):
            if nodes > 1 and method == "osft":  # mini-trainer shards over all GPUs
                continue
            strategy = "fsdp" if nodes == 1 else "hsdp"
            cluster = {"sharding": strategy, "num_gpus": gpus, "num_nodes": nodes}
            choices = {**own, **cluster}
            name = f"{model} {method} {strategy} {gpus} GPUs"
            yield name, model, choices
            yield f"{name} checkpointing", model, {**choices, **CHECKPOINTING}
            if gpus == 8 and nodes == 1:
                yield f"{name} short", model, {**choices, **CHECKPOINTING, "max_seq_len": 32}


def flattened(model: str) -> Iterator[Row]:
    """Yield a model sharded as Training Hub's sft has it, by FSDP's first version."""
    hub = {**METHODS["fp32-autocast"], "trainer": "training_hub"}
    for gpus, nodes in ((8, 1), (2, 1), (8, 2)):
        strategy = "fsdp" if nodes == 1 else "hsdp"
        choices = {**hub, "sharding": strategy, "num_gpus": gpus, "num_nodes": nodes}
        name = f"{model} flat {strategy} {gpus} GPUs"
        yield name, model, choices
        yield f"{name} checkpointing", model, {**choices, **CHECKPOINTING}
    yield f"{name} short", model, {**choices, **CHECKPOINTING, "max_seq_len": 32}
    yield f"{name} accumulates", model, {**choices, "gradient_accumulation_steps": 4}
    yield f"{name} fp32", model, {**choices, "mixed_precision": "no"}


#: Of these a config with all layers lies beside the one with fewer.
WITH_ALL_LAYERS = ("smollm2-135m", "qwen2.5-0.5b")


def sharded_at_depth() -> Iterator[Row]:
    """Yield models with all their layers, sharded by FSDP, at several lengths."""
    for model in WITH_ALL_LAYERS:
        for method, own in {
            "fp32-autocast": METHODS["fp32-autocast"],
            "lora": METHODS["lora"],
            "lora-autocast": METHODS["lora-autocast"],
            "osft": OSFT,
        }.items():
            for length in (96, 1024):
                choices = {**own, "max_seq_len": length, "sharding": "fsdp", "num_gpus": 4}
                name = f"{model} all layers {method} fsdp 4 GPUs {length} tokens"
                yield f"{name} checkpointing", f"{model}-all-layers", {**choices, **CHECKPOINTING}
                if length == 1024 and method != "lora-autocast":
                    yield name, f"{model}-all-layers", choices


def sharded_unevenly() -> Iterator[Row]:
    """Yield what does not divide by the GPUs, layers that differ, and gradients that are summed."""
    fsdp = {"sharding": "fsdp", "num_gpus": 6}
    for model, method in (
        ("qwen2.5-0.5b", "fp32-autocast"),
        ("qwen2.5-0.5b", "lora-autocast"),
        ("mixtral-8x7b", "bf16"),
        ("granite-3.1-3b-a800m", "fp32-autocast"),
        ("granite-4.0-h-350m", "bf16"),
        ("gemma-3-1b", "bf16"),
        ("gemma-3-1b", "lora"),
    ):
        yield f"{model} {method} fsdp 6 GPUs", model, {**METHODS[method], **fsdp}
    hybrid = {"sharding": "hsdp", "num_gpus": 8, "num_nodes": 2}
    summed = {**OSFT, **fsdp, "gradient_accumulation_steps": 4}
    yield "llama-3.2-1b osft fsdp 6 GPUs accumulates", "llama-3.2-1b", summed
    for method in ("bf16", "fp32-autocast", "lora"):
        for name, cluster in {"fsdp 6 GPUs": fsdp, "hsdp 8 GPUs": hybrid}.items():
            choices = {**METHODS[method], **cluster, "gradient_accumulation_steps": 4}
            yield f"llama-3.2-1b {method} {name} accumulates", "llama-3.2-1b", choices
        bf16 = {**METHODS[method], **hybrid, "mixed_precision": "bf16"}
        yield f"llama-3.2-1b {method} hsdp 8 GPUs in bf16", "llama-3.2-1b", bf16
        foreach = {**METHODS[method], **fsdp, "optim": "adamw_torch"}
        yield f"llama-3.2-1b {method} fsdp 6 GPUs adamw_torch", "llama-3.2-1b", foreach


def prepared() -> Iterator[Row]:
    """Yield what trainers prepare for FSDP: through Accelerate's own functions, or as Axolotl."""
    fsdp = {"sharding": "fsdp", "num_gpus": 4, "mixed_precision": "bf16"}
    hybrid = {**fsdp, "sharding": "hsdp", "num_gpus": 8, "num_nodes": 2}
    summed = {"gradient_accumulation_steps": 4}
    of_lora: Choices = {**LORA, "lora_dtype": "bfloat16"}
    in_4_bits: Choices = {**QLORA, "trainer": "trl"}
    for model in ("llama-3.2-1b", "mistral-7b"):  # one ties its lm_head, the other does not
        for name, choices in (
            ("bf16", fsdp),
            ("bf16 accumulates", {**fsdp, **summed}),
            ("bf16 synchronises each pass", {**fsdp, **summed, "sync_each_batch": True}),
            ("bf16 hybrid", hybrid),
            ("lora-bf16", {**fsdp, **of_lora}),
            ("lora-bf16 q and v", {**fsdp, **of_lora, "target_modules": ["q_proj", "v_proj"]}),
            ("qlora", {**in_4_bits, **fsdp}),
            ("qlora in integers", {**in_4_bits, **fsdp, "bnb_4bit_quant_storage": "uint8"}),
            ("qlora bf16 adapters", {**in_4_bits, **fsdp, "lora_dtype": "bfloat16"}),
            ("axolotl bf16", {**fsdp, "trainer": "axolotl"}),
            ("axolotl lora-bf16", {**of_lora, **fsdp, "trainer": "axolotl"}),
            ("flat bf16", {**fsdp, "trainer": "training_hub"}),
        ):
            yield f"{model} prepared {name}", model, choices
            yield f"{model} prepared {name} checkpointing", model, {**choices, **CHECKPOINTING}


def other_choices() -> Iterator[Row]:
    """Yield rows for optimizers, batches and lengths, on one llama-like model each."""
    small = "llama-3.2-1b"
    for optim in (
        *("adamw_torch", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"),
        *("adafactor", "lion_32bit", "lion_8bit", "sgd"),
    ):
        for method in ("bf16", "lora"):
            choices = {**METHODS[method], "optim": optim, **CHECKPOINTING}
            yield f"{small} {method} {optim}", small, {**choices, "max_seq_len": 64}
    for method in ("bf16", "fp32-autocast", "lora"):
        choices = METHODS[method]
        yield f"{small} {method} accumulates", small, {**choices, "gradient_accumulation_steps": 4}
        yield f"{small} {method} padded", small, {**choices, "padded": True}
        yield f"{small} {method} padded eager", small, {**choices, **EAGER, "padded": True}
        yield f"{small} {method} flash", small, {**choices, **FLASH}
        yield f"{small} {method} packed", small, {**choices, **FLASH, "max_tokens_per_gpu": 3000}
        yield (
            f"{small} {method} long",
            small,
            {**choices, "micro_batch_size": 1, "max_seq_len": 8192},
        )
        yield (
            f"{small} {method} short",
            small,
            {**choices, "micro_batch_size": 1, "max_seq_len": 32},
        )
    for method in ("bf16", "fp32-autocast"):
        in_backward = {**METHODS[method], "optimizer_in_backward": True}
        yield f"{small} {method} optimizer in backward", small, in_backward
    windowed = {"micro_batch_size": 1, "max_seq_len": 5000}
    yield "mistral-7b-v0.1 bf16 windowed", "mistral-7b-v0.1", windowed
    yield "mistral-7b-v0.1 bf16 windowed flash", "mistral-7b-v0.1", {**windowed, **FLASH}
    yield "mistral-7b-v0.1 bf16 within the window", "mistral-7b-v0.1", {"max_seq_len": 1024}


def seldom_together() -> Iterator[Row]:
    """Yield choices that are seldom made together: random comparisons found them to differ."""
    paged = {"optim": "paged_adamw_8bit", "optimizer_in_backward": True}
    half = {"param_dtype": "float16"}
    for name, model, choices in (
        ("bf16 paged_adamw_8bit in backward", "qwen1.5-moe-a2.7b", {**METHODS["bf16"], **paged}),
        ("lora float16", "qwen1.5-moe-a2.7b", {**METHODS["lora"], **half}),
        ("lora in fp16", "qwen2.5-0.5b", {**METHODS["lora"], "mixed_precision": "fp16"}),
        ("dora-autocast flash", "pythia-1b", {**METHODS["dora-autocast"], **FLASH}),
        ("dora-fp32", "stablelm-2-1.6b", {**METHODS["dora"], "param_dtype": "float32"}),
        ("qlora", "gpt2", METHODS["qlora"]),
        ("fp32-autocast eager", "falcon-40b", {**METHODS["fp32-autocast"], **EAGER}),
        ("lora-dropout padded flash", "smollm2-135m", {**METHODS["lora-dropout"], **FLASH}),
    ):
        padded = {"padded": True} if "padded" in name else {}
        yield f"{model} {name}", model, {**choices, **padded}
        both = {**choices, **padded, **CHECKPOINTING}
        yield f"{model} {name} checkpointing", model, both


def beside_adapters() -> Iterator[Row]:
    """Yield what PEFT trains beside the layers' linears: copies, tables, tokens, parameters."""
    both = ["embed_tokens", "lm_head"]
    for model in ("llama-3.2-1b", "mistral-7b"):  # one ties its lm_head, the other does not
        for name, choices in (
            ("embedding and lm_head saved", {"modules_to_save": both}),
            ("embedding saved", {"modules_to_save": ["embed_tokens"]}),
            ("lm_head saved", {"modules_to_save": ["lm_head"]}),
            ("norms saved", {"modules_to_save": ["norm"]}),
            ("8-bit embedding saved", {"modules_to_save": both, "optim": "adamw_8bit"}),
            ("embedding adapted", {"target_modules": ["q_proj", "embed_tokens"]}),
            ("lm_head adapted", {"target_modules": ["q_proj", "lm_head"]}),
            ("tokens", {"trainable_token_indices": 10}),
        ):
            for method in ("lora-autocast", "lora", "qlora-trl"):
                row = {**METHODS[method], "target_modules": ["q_proj", "v_proj"], **choices}
                yield f"{model} {method} {name}", model, row
                yield f"{model} {method} {name} checkpointing", model, {**row, **CHECKPOINTING}
    for model, targets in (
        ("gpt-oss-20b", ["experts.gate_up_proj", "experts.down_proj"]),
        ("olmoe-1b-7b", ["mlp.experts.gate_up_proj"]),
        ("qwen3-30b-a3b", ["experts.down_proj"]),
    ):
        row = {**METHODS["lora-autocast"], "target_modules": ["q_proj"], **EAGER}
        row["target_parameters"] = targets
        yield f"{model} lora-autocast parameters", model, row
        yield f"{model} lora-autocast parameters checkpointing", model, {**row, **CHECKPOINTING}


def frozen() -> Iterator[Row]:
    """Yield full fine-tuning of some parameters."""
    for name, expressions in (
        ("lm_head", ["lm_head"]),
        ("last layer", [r"layers\.2\."]),
        ("first layer", [r"layers\.0\."]),
        ("MLPs", ["mlp"]),
        ("norms", ["norm"]),
        ("embedding", ["embed_tokens"]),
        ("attention of two", [r"layers\.[01]\..*self_attn", "norm"]),
    ):
        for method in ("bf16", "fp32-autocast"):
            row = {**METHODS[method], "trainable_parameters": expressions}
            yield f"mistral-7b {method} trains {name}", "mistral-7b", row
            both = {**row, **CHECKPOINTING}
            yield f"mistral-7b {method} trains {name} checkpointing", "mistral-7b", both


def cast_by_axolotl() -> Iterator[Row]:
    """Yield what Axolotl's loader casts: nothing for flash attention but routers."""
    for model in ("mistral-7b", "gemma-2b", "qwen3-30b-a3b"):
        for method in ("bf16", "lora"):
            for attention in (EAGER, FLASH):
                row = {**METHODS[method], **attention, "trainer": "axolotl"}
                row["mixed_precision"] = "bf16"
                name = f"{model} {method} axolotl {attention['attn_implementation']}"
                yield name, model, row
                yield f"{name} checkpointing", model, {**row, **CHECKPOINTING}


def reentrant() -> Iterator[Row]:
    """Yield checkpointing by PyTorch's older way, most of it where a layer has the peak."""
    older = {**CHECKPOINTING, "use_reentrant": True}
    for method in (
        *("bf16", "fp32-autocast", "lora", "lora-autocast", "lora-dropout", "lora-bf16"),
        *("qlora", "qlora-not-upcast-autocast", "qlora-int8", "qlora-int8-plain"),
    ):
        row = {**METHODS[method], **older}
        yield f"mistral-7b {method} re-entrant", "mistral-7b", row
        eager = {**EAGER, "max_seq_len": 1024}
        yield f"mistral-7b {method} re-entrant eager", "mistral-7b", {**row, **eager}
    for model in ("qwen3-0.6b", "mixtral-8x7b", "gemma-3-1b"):
        row = {**METHODS["lora-autocast"], **older, **EAGER, "max_seq_len": 1024}
        yield f"{model} lora-autocast re-entrant eager", model, row
    last = {**METHODS["bf16"], **older, "trainable_parameters": [r"layers\.2\."]}
    yield "mistral-7b bf16 re-entrant trains last layer", "mistral-7b", last
    summed = {**METHODS["bf16"], **older, "gradient_accumulation_steps": 4}
    yield "mistral-7b bf16 re-entrant accumulates", "mistral-7b", summed


def quantised_experts() -> Iterator[Row]:
    """Yield mixtures whose fused experts are quantised too, as Axolotl does if it is told to."""
    for model in ("qwen3-30b-a3b", "olmoe-1b-7b", "gpt-oss-20b"):
        row = {**METHODS["qlora"], **EAGER, "quantize_moe_experts": True}
        row["target_modules"] = ["q_proj", "k_proj", "v_proj", "o_proj"]
        name = f"{model} qlora quantised experts"
        yield name, model, row
        yield f"{name} re-entrant", model, {**row, **CHECKPOINTING, "use_reentrant": True}
    yield f"{name} single", model, {**row, "bnb_4bit_use_double_quant": False}


def after_outputs(result: Trace) -> int:
    """Return the most bytes in backward once nothing of the logits and the loss is left."""
    line = result.timeline
    totals = zip(line.total, line.step, line.phase, line.bytes["outputs"], strict=True)
    return max(
        (
            total
            for total, step, phase, outputs in totals
            if (step, phase, outputs) == (2, "backward", 0)
        ),
        default=0,
    )


def measure(name: str, model: str, choices: Choices) -> dict[str, Any]:
    """Trace one row."""
    choices = {**PLAIN, **choices}
    config = TrainingConfig(model, **choices)
    result = trace(config, json.loads((CONFIGS / f"{model}.json").read_text()))
    line = result.timeline
    moments = list(zip(line.step, line.phase, strict=True))
    end_of_forward = len(moments) - 1 - moments[::-1].index((2, "loss"))
    return {
        "id": name,
        "config": f"{model}.json",
        "choices": json.dumps(choices),
        **result.versions,
        "num_parameters": result.num_parameters,
        "num_trainable": result.num_trainable,
        "loaded": result.loaded,
        "forward_peak": result.peak_of("forward"),
        "loss_peak": result.peak_of("loss"),
        "end_of_forward": line.total[end_of_forward],
        "backward_peak": result.peak_of("backward"),
        "backward_after_outputs_peak": after_outputs(result),
        "optimizer_step_peak": result.peak_of("optimizer_step"),
        "allocated": result.allocated,
        "peak_phase": result.peak_phase,
        "peak_step": result.peak_step,
        "components": json.dumps(
            {c: result.components[c] for c in COMPONENTS if result.components[c]}
        ),
    }


def main(grid: Path, every: Iterable[Row]) -> None:
    """Trace the rows that are asked for and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="regex on a row's id")
    only = re.compile(parser.parse_args().only)
    known: dict[str, dict[str, Any]] = {}
    if grid.exists() and only.pattern:
        with grid.open(newline="") as file:
            known = {row["id"]: row for row in csv.DictReader(file)}
    table: list[dict[str, Any]] = []
    for name, model, choices in every:
        if only.search(name):
            row = measure(name, model, choices)
            print(f"{row['allocated']:>16,}  {name}", flush=True)
            table.append(row)
        elif name in known:
            table.append(known[name])
    with grid.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


if __name__ == "__main__":
    main(GRID, rows())
