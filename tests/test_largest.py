"""The largest value that fits: at it, one beyond it, and below it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import vram_widget as vw
from vram_widget.advise import limit
from vram_widget.advise.largest import GROWING, AdviceWarning
from vram_widget.trainers import TRAINERS

#: Small and large, tied and not, grouped, capped, windowed, of experts.
MODELS = [
    "HuggingFaceTB/SmolLM2-135M",
    "ibm-granite/granite-3.3-2b-instruct",
    "google/gemma-2-2b",
    "google/gemma-3-1b-it",
    "Qwen/Qwen3-4B",
    "microsoft/Phi-3-mini-4k-instruct",
    "meta-llama/Llama-3.1-8B",
    "allenai/OLMoE-1B-7B-0125",
    "Qwen/Qwen2.5-32B",
]
CARDS = ["RTX 3060", "T4", "L4", "L40S", "A100-80GB", "B200"]


def runnable(run: dict[str, Any]) -> dict[str, Any]:
    """Leave out a strategy that the trainer does not run the method by."""
    trainer = TRAINERS[run["trainer"]]
    can_run = trainer.can_run(run["training_method"], run.get("sharding", ""))
    return run if can_run else {k: each for k, each in run.items() if k != "sharding"}


runs = st.fixed_dictionaries(
    {
        "model_path": st.sampled_from(MODELS),
        "training_method": st.sampled_from(["sft", "lora", "qlora"]),
        "trainer": st.sampled_from(["training_hub", "trl", "unsloth", "axolotl", "torchtune"]),
        "gpu": st.sampled_from(CARDS),
        "target_modules": st.just("all-linear"),  # trainers name those of Llama
    },
    optional={
        "max_seq_len": st.integers(16, 8192),
        "micro_batch_size": st.integers(1, 8),
        "gradient_checkpointing": st.booleans(),
        "attn_implementation": st.sampled_from(["eager", "sdpa", "flash_attention_2"]),
        "loss_kernel": st.sampled_from(["eager", "fused", "chunked", "liger"]),
        "use_liger": st.booleans(),
        "padded": st.booleans(),
        "use_dora": st.booleans(),
        "lora_r": st.sampled_from([4, 16, 64]),
        "optim": st.sampled_from(["adamw_torch", "adamw_torch_fused", "adamw_8bit"]),
        "param_dtype": st.sampled_from(["float32", "bfloat16"]),
        "gradient_accumulation_steps": st.sampled_from([1, 4]),
        "num_gpus": st.sampled_from([1, 2, 8]),
        "sharding": st.sampled_from(["ddp", "zero2", "zero3", "fsdp", "hsdp"]),
        "memory_model": st.sampled_from(["replay", "replay", "training_hub"]),
    },
).map(runnable)
hundreds = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)


def need(config: vw.TrainingConfig, margin: float | None) -> int:
    found = vw.estimate(config)
    return found.high if margin is None else int(found.expected * (1 + margin))


def usable(config: vw.TrainingConfig) -> int:
    return vw.estimate(config).gpu.usable


@hundreds
@given(runs, st.sampled_from(GROWING), st.sampled_from([None, None, 0.0, 0.2]), st.data())
def test_it_fits_and_one_more_does_not(
    run: dict[str, Any], field: str, margin: float | None, data: st.DataObject
) -> None:
    config = vw.TrainingConfig(**run)
    assume(field != "lora_r" or config.training_method != "sft")
    found = limit(config, field, margin)
    room = usable(config)
    if not found.value:
        assert need(config.replace(**{field: 1}), margin) > room
        return
    assert need(config.replace(**{field: found.value}), margin) <= room
    less = data.draw(st.integers(1, found.value))
    assert need(config.replace(**{field: less}), margin) <= room
    if not found.reached:
        assert need(config.replace(**{field: found.value + 1}), margin) > room
    elif field == "max_seq_len":
        reads = vw.estimate(config).architecture.config["max_position_embeddings"]
        assert found.value == reads
    else:
        with pytest.raises(vw.ConfigError, match=field):
            vw.estimate(config.replace(**{field: found.value + 1}))


@settings(max_examples=60, deadline=None)
@given(runs, st.sampled_from([1, 2, 4]))
def test_with_one_node_of_gpus_fewer_it_does_not_fit(run: dict[str, Any], nodes: int) -> None:
    config = vw.TrainingConfig(**{**run, "num_gpus": nodes, "num_nodes": nodes})
    found = limit(config, "num_gpus")
    if not found.value:
        assert need(config.replace(num_gpus=64 * nodes), None) > usable(config)
        return
    assert found.value % nodes == 0
    assert vw.estimate(config.replace(num_gpus=found.value)).verdict == "fits"
    if found.value > nodes:
        assert vw.estimate(config.replace(num_gpus=found.value - nodes)).verdict != "fits"


def test_where_memory_is_a_line_the_largest_batch_lies_on_it() -> None:
    config = vw.TrainingConfig("meta-llama/Llama-3.1-8B", training_method="lora", gpu="L40S")
    one, two = (need(config.replace(micro_batch_size=size), None) for size in (8, 16))
    slope = (two - one) / 8
    by_hand = 8 + (usable(config) - one) / slope
    assert vw.largest(config, "micro_batch_size") == pytest.approx(by_hand, abs=1)


def test_where_nothing_fits_it_is_nothing_and_a_sentence_says_so() -> None:
    config = vw.TrainingConfig("Qwen/Qwen2.5-32B", gpu="T4")
    with pytest.warns(
        AdviceWarning, match=r"No micro-batch is small enough: 1 may need [0-9.]+ of"
    ):
        assert vw.largest(config, "micro_batch_size") == 0


def test_a_sequence_is_no_longer_than_the_model_reads() -> None:
    found = limit(vw.TrainingConfig("HuggingFaceTB/SmolLM2-135M", gpu="B200"), "max_seq_len")
    assert found.reached
    assert found.value == found.estimate.architecture.config["max_position_embeddings"]


def test_ddp_helps_no_run_that_is_too_large_alone() -> None:
    config = vw.TrainingConfig("Qwen/Qwen2.5-32B", gpu="L4", sharding="ddp")
    assert limit(config, "num_gpus").value == 0


def test_fully_sharded_states_need_as_many_gpus_as_arithmetic_says() -> None:
    config = vw.TrainingConfig("meta-llama/Llama-3.1-8B", gpu="L40S", sharding="fsdp")
    states = 16 * 8_030_261_248  # float32 weights, gradients and two moments of AdamW
    assert vw.largest(config, "num_gpus") >= -(-states // usable(config))


@pytest.mark.parametrize(
    ("field", "choices", "why"),
    [
        ("learning_rate", {}, "largest finds micro_batch_size"),
        ("micro_batch_sise", {}, "Did you mean 'micro_batch_size'"),
        ("lora_r", {"training_method": "sft"}, "does nothing in sft"),
        ("micro_batch_size", {"max_tokens_per_gpu": 4096}, "max_tokens_per_gpu"),
        ("num_gpus", {"trainer": "axolotl", "training_method": "osft"}, "cannot run osft"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(
    field: str, choices: dict[str, Any], why: str
) -> None:
    with pytest.raises(vw.ConfigError, match=why):
        vw.largest(vw.TrainingConfig(gpu="L40S", **choices), field)


def test_a_margin_is_a_share() -> None:
    with pytest.raises(vw.ConfigError, match="share"):
        vw.largest("meta-llama/Llama-3.1-8B", "micro_batch_size", margin=-0.1)
