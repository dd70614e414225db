"""Training Hub's keywords and thub's files: every key is read, has no bearing, or is named."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from vram_widget.errors import ConfigError
from vram_widget.export.readers.reading import ReadingWarning
from vram_widget.export.readers.training_hub import from_training_hub

SFT: dict[str, Any] = {
    "model_path": "ibm-granite/granite-3.3-2b-instruct",
    "data_path": "data.jsonl",
    "ckpt_output_dir": "out",
    "max_seq_len": 4096,
    "max_tokens_per_gpu": 8192,
    "learning_rate": 1e-5,
    "warmup_steps": 10,
    "wandb_project": "p",
    "callbacks": [],
}
LORA = {"model_path": "m", "data_path": "d", "ckpt_output_dir": "o", "lora_r": 8}


def read(base: dict[str, Any], **settings: Any) -> Any:
    """Read settings that leave nothing uncounted."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReadingWarning)
        return from_training_hub({**base, **settings})


def effects(base: dict[str, Any], **settings: Any) -> list[str]:
    """Return what leaving out the settings does to the figure, one word each."""
    with pytest.warns(ReadingWarning):
        config = from_training_hub({**base, **settings})
    return [each["effect"] for each in config.uncounted]


def test_a_thub_file_is_read_as_the_keywords_are(tmp_path: Any) -> None:
    text = "model-path: m\nmax-seq-len: 512\nmax_tokens_per_gpu: 1024\nnproc-per-node: '4'\n"
    file = tmp_path / "sft.yaml"
    file.write_text(text)
    for source in (text, file, str(file)):
        config = from_training_hub(source)
        assert (config.max_seq_len, config.max_tokens_per_gpu, config.num_gpus) == (512, 1024, 4)


def test_instructlab_trainings_own_names() -> None:
    assert read(SFT, max_tokens_per_gpu=None, max_batch_len=2048).max_tokens_per_gpu == 2048
    deepspeed = {
        "distributed_backend": "deepspeed",
        "deepspeed_options": {"cpu_offload_optimizer": True},
    }
    config = read(SFT, nproc_per_node=2, **deepspeed)
    assert (config.sharding, config.cpu_offload) == ("zero2", "optimizer")
    options = {"sharding_strategy": "FULL_SHARD", "cpu_offload_params": True}
    config = read(SFT, nproc_per_node=2, fsdp_options=options)
    assert (config.sharding, config.cpu_offload) == ("fsdp", "all")


def test_mini_trainers_own_names() -> None:
    osft = {**SFT, "unfreeze_rank_ratio": 0.5}
    assert read(osft, train_dtype="bfloat16").param_dtype == "bfloat16"
    assert effects(osft, target_patterns=["q_proj"]) == ["unknown"]


def test_what_another_method_takes_has_no_bearing() -> None:
    assert read(SFT, gradient_accumulation_steps=8).gradient_accumulation_steps == 1
    assert read(LORA, max_tokens_per_gpu=99_999, flash_attention=True).max_tokens_per_gpu is None


def test_what_lora_sft_takes_and_no_field_says() -> None:
    assert effects(LORA, rank_pattern={"q_proj": 64}) == ["unknown"]
    assert effects(LORA, enable_model_splitting=True) == ["too_much"]
    assert effects(LORA, finetune_vision_layers=True) == ["too_little"]
    assert effects(LORA, load_in_4bit=True, bnb_4bit_compute_dtype="float32") == ["too_little"]
    assert effects(LORA, bf16=False) == ["unknown"]
    assert effects(LORA, lora_rank=8) == ["unknown"]  # misspelt
    evaluation = {"eval_data_path": "e", "per_device_eval_batch_size": 16}
    assert effects(LORA, micro_batch_size=2, **evaluation) == ["unknown"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"group_size": 8}, "GRPO"),
        ({"seed_candidate": {"system_prompt": "x"}}, "GEPA"),
        ({"loss_type": "contrastive"}, "embedding"),
        ({"lora": {"rank": 4}}, "LoRA in instructlab"),
        ({"nproc_per_node": "gpu"}, "num_gpus"),
        ({"model_path": None}, "No model"),
        ({"fsdp_options": "all"}, "mapping"),
        ({"max_seq_len": "long"}, "max_seq_len"),
        ({"effective_batch_size": 0}, "effective_batch_size"),
    ],
)
def test_what_is_refused_is_refused_in_a_sentence(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        from_training_hub({**SFT, **settings})
