"""The keywords of Unsloth's calls: every one is read, has no bearing, or is named."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest

from vram_widget.config import TrainingConfig
from vram_widget.errors import ConfigError
from vram_widget.estimate.estimate import estimate
from vram_widget.export.readers.reading import ReadingWarning
from vram_widget.export.readers.unsloth import TARGETS, from_unsloth

MODEL = "unsloth/gemma-2-2b"


def read(
    loading: dict[str, Any] | None = None,
    adapter: dict[str, Any] | None = None,
    arguments: dict[str, Any] | None = None,
) -> TrainingConfig:
    """Read keywords that leave nothing uncounted."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReadingWarning)
        return from_unsloth(
            {
                "from_pretrained": {"model_name": MODEL, **(loading or {})},
                "get_peft_model": adapter or {},
                "SFTConfig": arguments or {},
            }
        )


def test_what_is_left_open_is_what_unsloth_runs_with() -> None:
    expected = TrainingConfig(
        MODEL,
        trainer="unsloth",
        training_method="qlora",
        quantization="nf4",
        bnb_4bit_use_double_quant=True,
        lora_r=16,
        lora_alpha=16,
        target_modules=TARGETS,
        max_seq_len=2048,
        micro_batch_size=4,
        gradient_accumulation_steps=2,
        optim="adamw_8bit",
        mixed_precision="bf16",
        gradient_checkpointing=True,
        offload_activations=True,
        padded=False,
    )
    assert read().config == expected.config


def test_one_mapping_is_read_like_three() -> None:
    keywords = {"max_seq_length": 4096, "r": 32, "per_device_train_batch_size": 2, "seed": 1}
    config = from_unsloth({"model_name": MODEL, **keywords})
    assert (config.max_seq_len, config.lora_r, config.micro_batch_size) == (4096, 32, 2)
    assert from_unsloth(json.dumps({"model_name": MODEL, **keywords})).config == config.config


@pytest.mark.parametrize(
    ("keywords", "method", "quantization"),
    [
        ({}, "qlora", "nf4"),
        ({"load_in_4bit": False}, "lora", None),
        ({"load_in_4bit": False, "load_in_16bit": True}, "lora", None),
        ({"load_in_4bit": False, "load_in_8bit": True}, "qlora", "int8"),
        ({"load_in_4bit": False, "load_in_fp8": True}, "qlora", "fp8"),
        ({"quantization_config": {"load_in_8bit": True}}, "qlora", "int8"),
        ({"model_name": "unsloth/gemma-2-2b-bf16"}, "lora", None),
        ({"full_finetuning": True}, "sft", None),
    ],
)
def test_how_the_model_is_loaded(
    keywords: dict[str, Any], method: str, quantization: str | None
) -> None:
    config = read(keywords)
    assert config.training_method == method
    assert quantization in (None, config.quantization)


@pytest.mark.parametrize(
    ("keywords", "stored", "mixed"),
    [
        ({}, "bfloat16", "no"),
        ({"float32_mixed_precision": True}, "float32", "bf16"),
        ({"dtype": "float16"}, "float32", "fp16"),
        ({"dtype": "torch.float32"}, "float32", "bf16"),
    ],
)
def test_full_finetuning_is_bfloat16_by_default(
    keywords: dict[str, Any], stored: str, mixed: str
) -> None:
    config = read({"full_finetuning": True, **keywords}, {"r": 8})
    assert (config.param_dtype, config.mixed_precision) == (stored, mixed)


@pytest.mark.parametrize(
    ("value", "length", "checkpoints", "offloads"),
    [
        ("unsloth", 2048, True, True),
        ("unsloth", 256, True, False),
        (True, 2048, True, False),
        (False, 2048, False, False),
    ],
)
def test_checkpointing(value: object, length: int, checkpoints: bool, offloads: bool) -> None:
    config = read({"max_seq_length": length}, {"use_gradient_checkpointing": value})
    assert config.gradient_checkpointing is checkpoints
    assert config.offload_activations is offloads


def test_the_smaller_length_counts() -> None:
    assert read({"max_seq_length": 4096}, None, {"max_length": 1024}).max_seq_len == 1024
    assert read({"max_seq_length": 1024}, None, {"max_length": 4096}).max_seq_len == 1024


def test_what_is_so_by_default_draws_no_notice() -> None:
    read({"device_map": "sequential", "offload_embedding": "auto", "token": "hf_x", "dtype": None})
    read({"device_map": {"": 0}, "offload_embedding": False, "fast_inference": False})


def test_cards_without_bfloat16_load_float16() -> None:
    config = from_unsloth({"model_name": MODEL}, gpu="T4")
    assert (config.param_dtype, config.mixed_precision) == ("float16", "fp16")
    config = from_unsloth({"model_name": MODEL, "full_finetuning": True, "fp16": True})
    assert (config.param_dtype, config.mixed_precision) == ("float32", "fp16")


def test_padding_free_unless_switched_off() -> None:
    assert read().padded is False
    assert read(None, None, {"padding_free": False}).padded is True
    assert read(None, None, {"padding_free": False, "packing": True}).padded is False


def test_an_embedding_among_the_targets_needs_as_much_as_a_saved_one() -> None:
    named = ["embed_tokens", "lm_head"]
    without, targeted, saved = (
        estimate(read(None, adapter), gpu="RTX 4090").expected
        for adapter in (
            {},
            {"target_modules": [*TARGETS, *named]},
            {"modules_to_save": named},
        )
    )
    assert without < targeted == saved


def test_copies_of_float16_modules_are_float32() -> None:
    with pytest.warns(ReadingWarning, match="float32"):
        config = from_unsloth({"model_name": MODEL, "modules_to_save": ["lm_head"]}, gpu="T4")
    assert [each["effect"] for each in config.uncounted] == ["too_little"]


@pytest.mark.parametrize(
    ("key", "value", "effect"),
    [
        ("fast_inference", True, "too_little"),
        ("offload_embedding", True, "too_much"),
        ("offload_layers", 8, "too_much"),
        ("checkpoint_skip_layers", 4, "too_little"),
        ("unsloth_tiled_mlp", True, "too_much"),
        ("resize_model_vocab", 200_000, "too_little"),
        ("qat_scheme", "int8-int4", "too_little"),
        ("device_map", "balanced", "too_much"),
        ("bias", "all", "too_little"),
        ("layers_to_transform", [0, 1], "too_much"),
        ("use_liger_kernel", True, "unknown"),
        ("optim", "ademamix", "too_little"),
        ("loss_type", "dft", "unknown"),
        ("load_in_4bits", True, "unknown"),
    ],
)
def test_what_is_not_counted_is_named(key: str, value: object, effect: str) -> None:
    with pytest.warns(ReadingWarning, match=key):
        config = from_unsloth({"model_name": MODEL, key: value})
    assert [each["effect"] for each in config.uncounted] == [effect]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model_name": MODEL, "load_in_8bit": True}, "load_in_4bit to False"),
        ({"model_name": MODEL, "dtype": "int8"}, "dtype"),
        ({"model_name": MODEL, "num_labels": 2}, "classifier"),
        ({"model_name": MODEL, "finetune_vision_layers": True}, "images"),
        ({"model_name": MODEL, "target_modules": ["lm_head"]}, "projection"),
        ({"model_name": MODEL, "r": "high"}, "high"),
        ({"model_name": MODEL, "max_seq_length": [1]}, "max_seq_len"),
        ({"FastVisionModel": {"model_name": MODEL}}, "images"),
        ({"from_pretrained": 3}, "from_pretrained"),
        ({"from_pretrained": {}}, "model_name"),
        ({}, "model_name"),
    ],
)
def test_what_cannot_be_read_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        from_unsloth(settings)


def test_keywords_win() -> None:
    config = from_unsloth(
        {"model_name": MODEL, "load_in_8bit": True}, training_method="lora", lora_r=4
    )
    assert (config.training_method, config.lora_r) == ("lora", 4)
