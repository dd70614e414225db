"""LLaMA-Factory's files: every key is read, has no bearing, or is named."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from vram_widget.config import TrainingConfig
from vram_widget.errors import ConfigError
from vram_widget.export import draft
from vram_widget.export.readers.llamafactory import READER, from_llamafactory, run
from vram_widget.export.readers.reading import ReadingWarning

LORA = {
    "model_name_or_path": "Qwen/Qwen2.5-7B-Instruct",
    "stage": "sft",
    "do_train": True,
    "finetuning_type": "lora",
    "bf16": True,
}
FULL = {**LORA, "finetuning_type": "full"}


def read(base: dict[str, Any], **settings: Any) -> TrainingConfig:
    """Read settings that leave nothing uncounted."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReadingWarning)
        return from_llamafactory({**base, **settings})


def effects(base: dict[str, Any], **settings: Any) -> list[str]:
    """Return what leaving out the settings does to the figure, one word each."""
    with pytest.warns(ReadingWarning):
        config = from_llamafactory({**base, **settings})
    return [each["effect"] for each in config.uncounted]


def test_what_a_file_leaves_open_is_what_the_program_runs_with() -> None:
    config = read({"model_name_or_path": "m", "do_train": True})
    expected = TrainingConfig(
        "m",
        trainer="llamafactory",
        training_method="lora",
        lora_r=8,
        lora_alpha=16,
        target_modules="all-linear",
        max_seq_len=2048,
        micro_batch_size=8,
        gradient_accumulation_steps=1,
        padded=True,
        mixed_precision="no",
        gradient_checkpointing=True,
        sharding="ddp",
    )
    assert config.config == expected.config


def test_lora_is_read_from_yaml_text() -> None:
    config = from_llamafactory(
        "model_name_or_path: m\nstage: sft\ndo_train: true\nfinetuning_type: lora\nlora_rank: 32\n"
        "lora_target: q_proj, v_proj\nlora_dropout: 0.1\ncutoff_len: 4096\nbf16: true\n"
        "per_device_train_batch_size: 2\nflash_attn: fa2\noptim: paged_adamw_8bit\n"
        "enable_liger_kernel: true\nuse_unsloth_gc: true\nmodel_revision: v2\n"
    )
    assert config.model_path == "m@v2"
    assert (config.lora_r, config.lora_alpha, config.lora_dropout) == (32, 64, 0.1)
    assert config.target_modules == ["q_proj", "v_proj"]
    assert (config.max_seq_len, config.micro_batch_size) == (4096, 2)
    assert config.attn_implementation == "flash_attention_2"
    assert config.optim == "paged_adamw_8bit"
    assert config.use_liger
    assert config.offload_activations


@pytest.mark.parametrize(
    ("settings", "stored", "mixed"),
    [
        ({}, "float32", "bf16"),
        ({"bf16": False}, "float32", "no"),
        ({"bf16": False, "fp16": True}, "float32", "fp16"),
        ({"bf16": False, "pure_bf16": True}, "bfloat16", "no"),
    ],
)
def test_what_trains_is_float32_but_for_pure_bf16(
    settings: dict[str, Any], stored: str, mixed: str
) -> None:
    config = read(FULL, **settings)
    assert (config.param_dtype, config.mixed_precision) == (stored, mixed)


def test_adapters_are_float32_also_in_pure_bf16() -> None:
    config = read(LORA, bf16=False, pure_bf16=True)
    assert (config.param_dtype, config.lora_dtype) == ("bfloat16", "float32")


@pytest.mark.parametrize(
    ("settings", "quantization", "double"),
    [
        ({"quantization_bit": 4}, "nf4", True),
        ({"quantization_bit": 4, "double_quantization": False}, "nf4", False),
        ({"quantization_bit": 4, "quantization_type": "fp4"}, "nf4", True),
        # 32 bits of scale and zero for 64 weights: what NF4 has without double quantisation
        ({"quantization_bit": 4, "quantization_method": "hqq"}, "nf4", False),
        ({"quantization_bit": 8}, "int8", True),
        ({"model_name_or_path": "x/Llama-3-8B-AWQ"}, "awq", True),
        ({"model_name_or_path": "x/Llama-3-8B-GPTQ-Int4"}, "gptq", True),
    ],
)
def test_quantised_bases(settings: dict[str, Any], quantization: str, double: bool) -> None:
    config = read(LORA, **settings)
    assert config.training_method == "qlora"
    assert config.quantization == quantization
    assert config.bnb_4bit_use_double_quant is double or quantization != "nf4"


def test_unsloth_loads_no_8_bit() -> None:
    assert read(LORA, use_unsloth=True, quantization_bit=8).training_method == "lora"
    config = read(LORA, use_unsloth=True, disable_gradient_checkpointing=True)
    assert config.gradient_checkpointing
    assert config.offload_activations
    assert config.loss_kernel == "chunked"


def test_pretraining_packs_by_default() -> None:
    assert read(LORA, stage="pt").padded is False
    assert read(LORA, stage="pt", packing=False).padded is True
    assert read(LORA, packing=True).padded is False
    assert read(LORA, packing=True, neat_packing=True, flash_attn="fa2").padded is False
    assert effects(LORA, neat_packing=True) == ["too_little"]


def test_attention_of_families_that_have_rules_of_their_own() -> None:
    assert read(LORA, model_name_or_path="openai/gpt-oss-20b").attn_implementation == (
        "flash_attention_2"
    )
    assert effects(LORA, model_name_or_path="google/gemma-2-2b") == ["too_little"]
    assert read(LORA, model_name_or_path="google/gemma-2-2b", flash_attn="sdpa")


def test_zero_is_read_from_the_file_beside(tmp_path: Path) -> None:
    (tmp_path / "ds.json").write_text(json.dumps({"zero_optimization": {"stage": 2}}))
    file = tmp_path / "runs" / "sft.yaml"
    file.parent.mkdir()
    file.write_text(json.dumps({**FULL, "deepspeed": "ds.json"}))
    config = from_llamafactory(file, num_gpus=4)
    assert (config.sharding, config.num_gpus, config.uncounted) == ("zero2", 4, [])


@pytest.mark.parametrize(
    ("name", "sharding", "offload"),
    [
        ("ds_z0_config", "ddp", "none"),
        ("ds_z2_config", "zero2", "none"),
        ("ds_z2_offload_config", "zero2", "optimizer"),
        ("ds_z3_config", "zero3", "none"),
        ("ds_z3_offload_config", "zero3", "all"),
    ],
)
def test_its_own_files_of_deepspeed_are_known_by_name(
    name: str, sharding: str, offload: str
) -> None:
    settings = {**FULL, "deepspeed": f"examples/deepspeed/{name}.json"}
    config = from_llamafactory(settings, num_gpus=8)
    assert (config.sharding, config.cpu_offload) == (sharding, offload)


def test_a_sharded_file_asks_for_the_gpus() -> None:
    with pytest.warns(ReadingWarning, match="give num_gpus"):
        from_llamafactory({**FULL, "deepspeed": "ds_z3_config.json"})
    assert read(FULL, deepspeed={"zero_optimization": {"stage": 3}}, ray_num_workers=4)


def test_fsdp() -> None:
    config = from_llamafactory({**FULL, "fsdp": "full_shard auto_wrap offload"}, num_gpus=2)
    assert (config.sharding, config.cpu_offload) == ("fsdp", "all")


@pytest.mark.parametrize(
    ("key", "value", "effect"),
    [
        ("use_galore", True, "too_much"),
        ("use_apollo", True, "too_much"),
        ("use_badam", True, "too_much"),
        ("use_adam_mini", True, "too_much"),
        ("use_muon", True, "too_much"),
        ("use_asft_loss", True, "too_little"),
        ("use_eaft_loss", True, "too_little"),
        ("upcast_layernorm", True, "too_little"),
        ("upcast_lmhead_output", True, "too_much"),
        ("mixture_of_depths", "convert", "unknown"),
        ("shift_attn", True, "unknown"),
        ("fp8", True, "unknown"),
        ("resize_vocab", True, "too_little"),
        ("add_tokens", "<a>,<b>", "too_little"),
        ("image_max_pixels", 262144, "too_little"),
        ("freeze_vision_tower", False, "too_little"),
        ("freeze_language_model", True, "too_much"),
        ("moe_aux_loss_coef", 0.001, "too_little"),
    ],
)
def test_what_is_not_counted_is_named(key: str, value: object, effect: str) -> None:
    assert effects(FULL, **{key: value}) == [effect]


@pytest.mark.parametrize(
    ("settings", "modules"),
    [
        ({"additional_target": "embed_tokens, lm_head"}, ["embed_tokens", "lm_head"]),
        ({"resize_vocab": True}, ["embed_tokens", "lm_head"]),
        ({"add_tokens": "<a>", "additional_target": ["lm_head"]}, ["lm_head"]),
    ],
)
def test_modules_that_train_beside_the_adapters(
    settings: dict[str, Any], modules: list[str]
) -> None:
    with pytest.warns(ReadingWarning, match="float32"):
        config = from_llamafactory({**LORA, **settings})
    assert config.modules_to_save == modules


@pytest.mark.parametrize(
    ("settings", "patterns"),
    [
        ({}, [r"\.(26|27)\."]),
        ({"freeze_trainable_layers": -1}, [r"\.(0)\."]),
        (
            {"freeze_trainable_layers": 1, "freeze_trainable_modules": "mlp,self_attn"},
            [r"\.(27)\.(mlp|self_attn)"],
        ),
        ({"freeze_trainable_layers": 4, "use_llama_pro": True}, [r"\.(6|13|20|27)\."]),
        (
            {"freeze_trainable_layers": 1, "freeze_extra_modules": "lm_head"},
            [r"\.(27)\.", "lm_head"],
        ),
    ],
)
def test_freeze_trains_some_layers(settings: dict[str, Any], patterns: list[str]) -> None:
    with pytest.warns(ReadingWarning, match="float32"):
        config = from_llamafactory({**LORA, "finetuning_type": "freeze", **settings})
    assert (config.training_method, config.param_dtype) == ("sft", "bfloat16")
    assert config.trainable_parameters == patterns


def test_an_evaluation_of_more_rows_than_training_is_named() -> None:
    assert effects(LORA, eval_strategy="steps", per_device_train_batch_size=1) == ["too_little"]
    assert not read(LORA, eval_strategy="steps", per_device_eval_batch_size=1).uncounted


def test_a_misspelt_key_is_named_with_the_nearest() -> None:
    with pytest.warns(ReadingWarning, match="quantization_bit"):
        from_llamafactory({**LORA, "quantisation_bit": 4})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"stage": "dpo"}, "preference"),
        ({"stage": "rm"}, "reward"),
        ({"stage": "ppo"}, "PPO"),
        ({"stage": "dop"}, "Did you mean 'dpo'"),
        ({"finetuning_type": "freeze", "model_name_or_path": "me/mine"}, "trainable_parameters"),
        ({"finetuning_type": "freeze", "freeze_trainable_layers": "all"}, "number of layers"),
        ({"finetuning_type": "oft"}, "training_method"),
        ({"do_train": False}, "trains nothing"),
        ({"use_kt": True}, "KTransformers"),
        ({"tensor_model_parallel_size": 1}, "Megatron"),
        ({"flash_attn": "fa4"}, "flash_attn"),
        ({"flash_attn": []}, "flash_attn"),
        ({"quantization_bit": 3}, "3"),
        ({"quantization_bit": "four"}, "four"),
        ({"lora_rank": "high"}, "high"),
        ({"model_name_or_path": None}, "model"),
        ({"deepspeed": "no/such.json"}, "such"),
        ({"deepspeed": 3}, "3"),
        ({"fsdp": True, "fsdp_config": 7}, "fsdp_config"),
    ],
)
def test_what_cannot_be_read_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        from_llamafactory({**LORA, **settings})


def test_files_that_train_nothing_are_refused() -> None:
    for key, value in (("export_dir", "out"), ("infer_backend", "huggingface")):
        with pytest.raises(ConfigError, match=key):
            from_llamafactory({"model_name_or_path": "m", "template": "qwen", key: value})
    with pytest.raises(ConfigError, match="v1"):
        from_llamafactory({"model": "m", "dist_config": {"name": "fsdp2"}})


def test_keywords_win() -> None:
    config = from_llamafactory(
        {**LORA, "finetuning_type": "oft", "flash_attn": "fa4"},
        training_method="sft",
        attn_implementation="sdpa",
        model_path="other",
    )
    assert (config.model_path, config.training_method) == ("other", "sft")


def test_its_command_lines_are_read(tmp_path: Path) -> None:
    options = "--stage sft --do_train --finetuning_type lora --lora_rank 32 --bf16 True"
    config = run(["train", "--model_name_or_path", "m", *options.split()], {})
    assert (config.lora_r, config.mixed_precision) == (32, "bf16")
    file = tmp_path / "sft.yaml"
    file.write_text(json.dumps(LORA))
    config = run(["train", str(file), "lora_rank=64", "cutoff_len=512"], {"num_gpus": 2})
    assert (config.lora_r, config.max_seq_len, config.num_gpus) == (64, 512, 2)
    with pytest.raises(ConfigError, match="trains nothing"):
        run(["export", str(file)], {})


def test_its_files_are_recognised() -> None:
    assert READER.recognises(LORA)
    assert READER.recognises({"model": "m", "dist_config": {"name": "fsdp2"}})
    assert not READER.recognises({"model_name_or_path": "m", "max_length": 512})


@pytest.mark.parametrize(
    "choices",
    [
        {"training_method": "sft", "num_gpus": 8},
        {"training_method": "sft", "num_gpus": 4, "sharding": "zero2", "cpu_offload": "optimizer"},
        {"training_method": "sft", "num_gpus": 4, "sharding": "fsdp", "use_reentrant": False},
        {"training_method": "lora", "use_dora": True, "padded": False, "lora_alpha": 7},
        {"training_method": "lora", "use_liger": True, "offload_activations": True},
        {"training_method": "qlora", "quantization": "int8", "target_modules": ["q_proj"]},
        {"training_method": "qlora", "attn_implementation": "flash_attention_2", "padded": False},
        {"training_method": "qlora", "gradient_checkpointing": False, "mixed_precision": "fp16"},
    ],
)
def test_what_is_exported_is_read_as_it_was(choices: dict[str, Any]) -> None:
    config = TrainingConfig("meta-llama/Llama-3.1-8B", trainer="llamafactory", **choices)
    settings = draft(config, "llamafactory").settings
    found = from_llamafactory(settings, num_gpus=config.num_gpus)
    assert found.config == config.config


def test_modules_to_save_are_exported_and_read() -> None:
    modules = ["embed_tokens", "lm_head"]
    config = TrainingConfig("m", trainer="llamafactory", training_method="lora")
    settings = draft(config.replace(modules_to_save=modules), "llamafactory").settings
    assert settings["additional_target"] == "embed_tokens,lm_head"
    with pytest.warns(ReadingWarning, match="float32"):
        assert from_llamafactory(settings).modules_to_save == modules
