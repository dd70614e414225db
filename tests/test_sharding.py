"""What dividing a run among GPUs leaves on one, against what the libraries' sources say."""

from __future__ import annotations

import pytest

import vram_widget as vw

MODEL = "meta-llama/Llama-2-7b-hf"
WEIGHTS = 6_738_415_616


def estimate(**choices) -> vw.MemoryEstimate:
    plain = {
        "trainer": "trl",
        "training_method": "sft",
        "mixed_precision": "bf16",
        "optim": "adamw_torch_fused",
        "micro_batch_size": 1,
        "max_seq_len": 512,
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing": True,
        "num_gpus": 8,
        "gpu": "H200",
    }
    return vw.estimate(MODEL, **{**plain, **choices})


def bytes_in(est: vw.MemoryEstimate, component: str, *phases: str) -> int:
    """Return the most bytes of a component in some phases of the second step."""
    line = est.timeline
    moments = zip(line.bytes[component], line.step, line.phase, strict=True)
    return max(nbytes for nbytes, step, phase in moments if step == 2 and phase in phases)


@pytest.mark.parametrize(
    ("sharding", "bytes_in_backward"),
    [
        ("zero1", 5e8 * 2),  # reduce_bucket_size: 5e8 elements of two bytes
        ("zero2", 2 * 5e8 * 2),  # which are lined up once more to be reduced
    ],
)
def test_deepspeeds_bucket_is_there_in_backward_alone(sharding, bytes_in_backward):
    est = estimate(sharding=sharding)
    in_backward = bytes_in(est, "buffers", "backward")
    # what does not fit with the rest of a layer waits for the next bucket
    assert in_backward == pytest.approx(bytes_in_backward, rel=0.05)
    assert bytes_in(est, "buffers", "forward", "optimizer_step") < 1e6


def test_zero_3_keeps_a_billion_weights_gathered_and_its_bucket_throughout():
    est = estimate(sharding="zero3")
    assert bytes_in(est, "buffers", "forward") == pytest.approx(1e9 * 2 + 5e8 * 2, rel=0.001)
    # in backward what is in the bucket is lined up once more
    assert bytes_in(est, "buffers", "backward") == pytest.approx(4e9, rel=0.03)
    assert bytes_in(est, "buffers", "optimizer_step") == pytest.approx(5e8 * 2, rel=0.001)


@pytest.mark.parametrize(
    ("sharding", "bytes_each"),
    [
        ("zero1", 2 / 8 + 2 / 8 + 4 / 8),  # a share, the same in one tensor, and in float32
        ("zero2", 2 / 8 + 2 / 8 + 4 / 8),
        ("zero3", 2 / 8 + 2 / 8 + 4 / 8),
    ],
)
def test_zero_joins_its_gradients_and_casts_them_for_the_step(sharding, bytes_each):
    found = bytes_in(estimate(sharding=sharding), "gradients", "optimizer_step")
    assert found == pytest.approx(bytes_each * WEIGHTS, rel=0.01)


@pytest.mark.parametrize("method", ["sft", "lora"])
def test_ddp_copies_gradients_into_buckets_that_last(method):
    """torch/nn/parallel/distributed.py: gradients are no views of buckets unless asked to be."""
    choices = {"training_method": method, "sharding": "ddp", "param_dtype": "float32"}
    alone, several = estimate(num_gpus=1, **choices), estimate(**choices)
    buckets = bytes_in(several, "buffers", "forward") - bytes_in(alone, "buffers", "forward")
    assert buckets == pytest.approx(4 * several.num_trainable, rel=0.001)


def test_accumulated_gradients_stay_unsharded_under_transformers_trainer():
    """``accelerator.no_sync``: FSDP reduces the last pass alone, and holds float32 sums until then.

    mini-trainer and torchtune reduce each pass.
    """
    once = estimate(sharding="fsdp", param_dtype="float32")
    summed = estimate(sharding="fsdp", param_dtype="float32", gradient_accumulation_steps=4)
    assert bytes_in(summed, "gradients", "backward") > 4 * WEIGHTS
    assert bytes_in(once, "gradients", "backward") < WEIGHTS
    torchtune = {"trainer": "torchtune", "sharding": "fsdp", "optimizer_in_backward": False}
    apart = estimate(**torchtune, gradient_accumulation_steps=4)
    assert bytes_in(apart, "gradients", "backward") < WEIGHTS


def test_hybrid_sharding_shards_within_a_node():
    two_nodes = {"num_gpus": 16, "num_nodes": 2, "param_dtype": "float32"}
    within = estimate(sharding="hsdp", **two_nodes)
    across = estimate(sharding="fsdp", **two_nodes)
    assert max(within.timeline.bytes["parameters"]) == pytest.approx(4 * WEIGHTS / 8, rel=0.001)
    assert max(across.timeline.bytes["parameters"]) == pytest.approx(4 * WEIGHTS / 16, rel=0.001)


def test_flat_parameters_hold_less_than_fully_shard():
    """Training Hub's sft runs FSDP's first version, which copies nothing out."""
    choices = {"sharding": "fsdp", "param_dtype": "float32", "max_seq_len": 64}
    flat = estimate(trainer="training_hub", **choices)
    fully = estimate(trainer="trl", **choices)
    assert flat.allocated < fully.allocated
    assert bytes_in(flat, "buffers", "forward") < bytes_in(fully, "buffers", "forward")
