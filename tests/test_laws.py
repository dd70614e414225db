"""Laws that hold whatever the figures: what more of something can never do to memory."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import vram_widget as vw

GiB = 1024**3

METHODS = ("sft", "lora", "qlora", "osft")
models = st.fixed_dictionaries(
    {
        "model_type": st.sampled_from(
            ["llama", "qwen2", "qwen3", "granite", "gemma2", "phi3", "phi", "gpt_neox", "olmo2"]
        ),
        "num_hidden_layers": st.integers(1, 12),
        "head_dim": st.sampled_from([32, 64, 128]),
        "num_key_value_heads": st.sampled_from([1, 2, 4]),
        "num_attention_heads": st.sampled_from([4, 8]),
        "hidden_size": st.sampled_from([256, 512, 1024]),
        "intermediate_size": st.sampled_from([512, 1536, 4096]),
        "vocab_size": st.integers(1000, 200_000),
        "tie_word_embeddings": st.booleans(),
    }
)


def runnable(run: dict[str, Any]) -> dict[str, Any]:
    """Return the run by a trainer that takes it: TRL does but for OSFT, which one trainer has."""
    if run["training_method"] == "osft":
        return {**run, "trainer": "training_hub", "sharding": "fsdp", "cpu_offload": "none"}
    return {**run, "trainer": "trl", "target_modules": "all-linear"}


runs = st.fixed_dictionaries(
    {
        "training_method": st.sampled_from(METHODS),
        "micro_batch_size": st.integers(1, 8),
        "max_seq_len": st.integers(16, 8192),
        "lora_r": st.sampled_from([1, 8, 32]),
        "lora_dropout": st.sampled_from([0.0, 0.1]),
        "lora_dtype": st.sampled_from(["float32", "bfloat16"]),
        "use_dora": st.booleans(),
        "param_dtype": st.sampled_from(["float32", "bfloat16"]),
        "mixed_precision": st.sampled_from(["no", "bf16"]),
        "optim": st.sampled_from(["adamw_torch", "adamw_torch_fused", "adamw_8bit", "sgd"]),
        "gradient_checkpointing": st.booleans(),
        "gradient_accumulation_steps": st.sampled_from([1, 4]),
        "attn_implementation": st.sampled_from(["eager", "sdpa", "flash_attention_2"]),
        "loss_kernel": st.sampled_from(["eager", "fused", "chunked", "liger"]),
        "offload_activations": st.booleans(),
        "use_liger": st.booleans(),
        "padded": st.booleans(),
        "num_gpus": st.sampled_from([1, 2, 8]),
        "sharding": st.sampled_from(["ddp", "zero1", "zero2", "zero3", "fsdp", "hsdp"]),
        "cpu_offload": st.sampled_from(["none", "optimizer", "all"]),
    }
).map(runnable)
many = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@cache
def folder_of(text: str, root: str) -> str:
    from hashlib import sha1
    from pathlib import Path

    folder = Path(root) / sha1(text.encode()).hexdigest()
    folder.mkdir()
    (folder / "config.json").write_text(text)
    return str(folder)


@pytest.fixture
def estimate(tmp_path_factory):
    root = str(tmp_path_factory.getbasetemp())

    def run(model: dict[str, Any], choices: dict[str, Any], **changes: Any) -> vw.MemoryEstimate:
        path = folder_of(json.dumps(model, sort_keys=True), root)
        return vw.estimate(path, gpu="H100", **{**choices, **changes})

    return run


def more(before: vw.MemoryEstimate, after: vw.MemoryEstimate) -> None:
    assert after.allocated >= before.allocated


@many
@given(models, runs)
def test_nothing_is_ever_negative_and_everything_adds_up(estimate, model, run):
    est = estimate(model, run)
    assert 0 < est.low <= est.expected <= est.high
    assert sum(est.components.values()) == est.expected
    assert max(est.timeline.total) == est.expected
    for levels in est.timeline.bytes.values():
        assert min(levels) >= 0
    assert est.timeline.seconds == sorted(est.timeline.seconds)
    assert est.explain().bytes == est.expected


@many
@given(models, runs, st.integers(1, 4096))
def test_longer_sequences_never_take_less(estimate, model, run, tokens):
    more(estimate(model, run), estimate(model, run, max_seq_len=run["max_seq_len"] + tokens))


@many
@given(models, runs)
def test_a_larger_micro_batch_never_takes_less(estimate, model, run):
    larger = run["micro_batch_size"] + 1
    more(estimate(model, run), estimate(model, run, micro_batch_size=larger))


@many
@given(models, runs)
def test_a_higher_rank_never_takes_less(estimate, model, run):
    assume(run["training_method"] in ("lora", "qlora"))
    more(estimate(model, run, lora_r=8), estimate(model, run, lora_r=16))


@many
@given(models, runs)
def test_more_layers_never_take_less(estimate, model, run):
    deeper = {**model, "num_hidden_layers": model["num_hidden_layers"] + 1}
    more(estimate(model, run), estimate(deeper, run))


@many
@given(models, runs)
def test_a_larger_vocabulary_never_takes_less(estimate, model, run):
    # Liger's chunks are powers of two: a larger vocabulary may halve them
    assume(not run["use_liger"] and run["loss_kernel"] != "liger")
    wordier = {**model, "vocab_size": model["vocab_size"] + 512}
    more(estimate(model, run), estimate(wordier, run))


@many
@given(models, runs)
def test_checkpointing_never_leaves_more_activations(estimate, model, run):
    def at_the_end_of_forward(checkpointing: bool) -> int:
        est = estimate(model, run, gradient_checkpointing=checkpointing)
        moments = list(zip(est.timeline.step, est.timeline.phase, strict=True))
        return est.timeline.bytes["activations"][moments.index((2, "backward"))]

    # on one layer there is nothing to save: its input and what is kept of it come to the same
    assume(model["num_hidden_layers"] > 1)
    assert at_the_end_of_forward(True) <= at_the_end_of_forward(False)


@many
@given(models, runs)
def test_sharding_over_one_gpu_changes_nothing(estimate, model, run):
    assume(run["cpu_offload"] == "none")  # else DeepSpeed runs on the one
    assume(run["training_method"] != "osft")  # which is sharded by FSDP alone
    alone = [
        estimate(model, run, num_gpus=1, sharding=sharding).allocated
        for sharding in ("ddp", "zero1", "zero2", "zero3", "fsdp", "hsdp")
    ]
    assert len(set(alone)) == 1


@many
@given(models, runs)
def test_ddp_replicates_the_base_on_every_gpu(estimate, model, run):
    assume(run["cpu_offload"] == "none" and run["training_method"] != "osft")
    one = estimate(model, run, num_gpus=1)
    eight = estimate(model, run, num_gpus=8, sharding="ddp")
    assert eight.components["parameters"] == one.components["parameters"]
    more(one, eight)


def test_the_verdict_says_where_the_memory_lies_in_the_band():
    low, expected, high = vw.estimate("Qwen/Qwen2.5-0.5B", gpu="L4")

    def verdict(memory: int) -> str:
        return vw.estimate("Qwen/Qwen2.5-0.5B", gpu="L4", gpu_memory=memory).verdict

    assert (verdict(high), verdict(high - 1)) == ("fits", "likely")
    assert (verdict(expected), verdict(expected - 1)) == ("likely", "risky")
    assert (verdict(low), verdict(low - 1)) == ("risky", "does_not_fit")


def test_the_verdict_is_never_fits_where_something_is_known_not_to_be_counted():
    def verdict(effect: str) -> str:
        notice = {"text": "a setting", "effect": effect}
        return vw.estimate("Qwen/Qwen2.5-0.5B", gpu="H200", uncounted=[notice]).verdict

    found = {effect: verdict(effect) for effect in ("too_little", "too_much", "unknown")}
    assert found == {"too_little": "likely", "too_much": "fits", "unknown": "fits"}


def states(est: vw.MemoryEstimate) -> dict[str, int]:
    """Return the most bytes of each component that outlasts a pass."""
    line = est.timeline.bytes
    return {name: max(line[name]) for name in ("parameters", "gradients", "optimizer")}


@pytest.mark.parametrize(
    ("sharding", "weights", "gradients", "optimizer"),
    [  # the ZeRO paper's table 1: bytes a parameter, over N GPUs where it is sharded
        ("zero1", 2, 2, 12 / 64),
        ("zero2", 2, 2 / 64, 12 / 64),
        ("zero3", 2 / 64, 2 / 64, 12 / 64),
    ],
)
def test_zero_shards_as_its_paper_says(sharding, weights, gradients, optimizer):
    est = vw.estimate(
        "meta-llama/Llama-2-7b-hf",
        trainer="trl",
        training_method="sft",
        num_gpus=64,
        sharding=sharding,
        mixed_precision="bf16",
        optim="adamw_torch_fused",
        gpu="A100-80GB",
    )
    N = 6_738_415_616
    found = states(est)
    assert found["parameters"] == pytest.approx(weights * N, rel=0.001)
    assert found["optimizer"] == pytest.approx(optimizer * N, rel=0.001)
    # a whole block's gradients are there before they are sharded
    block = 2 * 202_383_360
    assert found["gradients"] == pytest.approx(gradients * N, abs=2 * block)


def test_fsdp_in_the_trainer_holds_twenty_bytes_a_parameter():
    """transformers: float32 weights, gradients, two moments and a temporary, over the GPUs."""
    est = vw.estimate(
        "meta-llama/Llama-2-7b-hf",
        param_dtype="float32",
        mixed_precision="bf16",
        optim="adamw_torch",
        num_gpus=8,
        sharding="fsdp",
        gpu="A100-80GB",
    )
    assert est.peak_phase == "optimizer_step"
    assert est.allocated == pytest.approx(20 * 6_738_415_616 / 8, rel=0.005)


def test_scales_of_bitsandbytes_are_replicated_on_every_gpu():
    """Its ``quant_state`` is no parameter, which FSDP would shard: a byte for 64 weights."""
    run = {"training_method": "qlora", "sharding": "fsdp", "gpu": "H100", "trainer": "trl"}
    run |= {"bnb_4bit_use_double_quant": True, "lora_dtype": "float32"}
    est = vw.estimate("meta-llama/Llama-3.1-8B", num_gpus=8, **run)
    weights = 32 * (4096 * (4096 + 1024 + 1024 + 4096) + 3 * 4096 * 14336)
    blocks = weights / 64
    scales = blocks + blocks / 256 * 4
    rest = 4 * (8_030_261_248 - weights)  # embeddings, lm_head and norms, in float32
    whole = est.num_trainable * 4 + weights / 2 + rest
    loaded = max(est.timeline.bytes["parameters"])
    assert loaded == pytest.approx(whole / 8 + scales, rel=0.01)


def beside_tensors(**choices: Any) -> float:
    """Return the GiB at the peak that PyTorch does not count, but for the allocator's share."""
    llama = {"model_path": "meta-llama/Llama-3.1-8B", "trainer": "trl", "training_method": "lora"}
    found = vw.estimate(llama, **choices)
    return (found.expected - 1.03 * found.allocated) / GiB


def test_a_communicator_takes_memory_that_pytorch_does_not_count() -> None:
    alone = beside_tensors(gpu="A100-80GB")
    # Of one communicator over NVLink, as users of NCCL have measured it: issues 964 and 864.
    assert 544 / 1024 < beside_tensors(gpu="A100-80GB", num_gpus=4) - alone < 1.6
    assert 0 < beside_tensors(gpu="L40S", num_gpus=4) - alone < 0.2
    nodes = {"gpu": "A100-80GB", "num_gpus": 16, "num_nodes": 2}
    one, two = (beside_tensors(**nodes, sharding=name) - alone for name in ("fsdp", "hsdp"))
    assert two == pytest.approx(2 * one, abs=1e-6)
