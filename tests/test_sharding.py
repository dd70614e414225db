"""What dividing a run among GPUs leaves on one, against what the libraries' sources say."""

from __future__ import annotations

import pytest
from recorded import as_traced, record_of

import vram_widget as vw
from vram_widget.gpu import resolve
from vram_widget.model.load import load
from vram_widget.step.replay import replay
from vram_widget.step.run import Run

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
    line, _ = as_traced(record_of(est)).timeline
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
    # an MLP's last two matrices are fetched together and copied out of one buffer
    together = 2 * (2 * 4096 * 11008)
    expected = 1e9 * 2 + 5e8 * 2 + together
    assert bytes_in(est, "buffers", "forward") == pytest.approx(expected, rel=0.001)
    # in backward what is in the bucket is lined up once more, when lm_head is released
    lm_head = 2 * 32000 * 4096
    assert bytes_in(est, "buffers", "backward") == pytest.approx(4e9 - lm_head, rel=0.03)
    assert bytes_in(est, "buffers", "optimizer_step") == pytest.approx(5e8 * 2, rel=0.001)


def test_zero_on_one_gpu_counts_where_it_offloads():
    """stage_1_and_2.py: DeepSpeed has its bucket however few GPUs there are."""
    alone = {"num_gpus": 1, "gpu_memory": "400 GiB"}
    assert estimate(**alone, sharding="zero2").allocated == (
        estimate(**alone, sharding="ddp").allocated
    )
    est = estimate(**alone, sharding="zero2", cpu_offload="optimizer")
    assert bytes_in(est, "optimizer", "optimizer_step") == 0
    assert bytes_in(est, "buffers", "backward") > 5e8 * 2
    assert bytes_in(est, "parameters", "forward") == pytest.approx(2 * WEIGHTS, rel=0.001)


def test_weights_offloaded_by_themselves_leave_the_states_on_the_gpu():
    """``_configure_offloading`` in stage3.py takes the two apart."""
    choices = {"sharding": "zero3"}
    on_gpu, weights, both = (
        estimate(**choices, cpu_offload=each) for each in ("none", "parameters", "all")
    )
    assert bytes_in(weights, "optimizer", "optimizer_step") == (
        bytes_in(on_gpu, "optimizer", "optimizer_step")
    )
    assert bytes_in(weights, "parameters", "forward") == bytes_in(both, "parameters", "forward")


def test_what_zero_3_gathers_names_the_stream_it_is_made_in():
    """``__allgather_stream`` and ``reduce_and_partition_stream``; buckets are made before."""
    streams = {
        (allocation.what, allocation.stream)
        for segment in record_of(estimate(sharding="zero3")).segments
        for _, allocation in segment.events
        if allocation.operator == "DeepSpeed" and allocation.component == "buffers"
    }
    assert {name for what, name in streams if what.startswith("gathered")} == {"all_gather"}
    assert ("weights fetched together", "all_gather") in streams
    assert ("gradients to be reduced", "reduce_and_partition") in streams
    assert ("reduce bucket", "") in streams


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
    """``accelerator.no_sync``: FSDP reduces the last pass alone, and holds sums until then.

    They are in bfloat16, in which Accelerate's policy reduces. mini-trainer and torchtune reduce
    each pass, and so does Accelerate with sync_each_batch.
    """
    once = estimate(sharding="fsdp", param_dtype="float32")
    summed = estimate(sharding="fsdp", param_dtype="float32", gradient_accumulation_steps=4)
    assert 2 * WEIGHTS < bytes_in(summed, "gradients", "backward") < 2.2 * WEIGHTS
    assert "no_sync" in summed.notes["gradients"]
    assert bytes_in(once, "gradients", "backward") < WEIGHTS
    synchronised = {"gradient_accumulation_steps": 4, "sync_each_batch": True}
    each = estimate(sharding="fsdp", param_dtype="float32", **synchronised)
    assert bytes_in(each, "gradients", "backward") < WEIGHTS
    assert "no_sync" not in each.notes["gradients"]
    offered = vw.suggest(summed.config.replace(gpu="L4"))
    assert any("sync_each_batch" in each.changes and each.fits for each in offered)
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
    fully = estimate(trainer="axolotl", **choices)  # which keeps the root in one group too
    assert flat.allocated < fully.allocated
    assert bytes_in(flat, "buffers", "forward") < bytes_in(fully, "buffers", "forward")


@pytest.mark.parametrize(
    ("trainer", "upcasts"), [("trl", True), ("llamafactory", True), ("axolotl", False)]
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_accelerate_keeps_float32_masters_of_what_trains(trainer, upcasts, dtype):
    """fsdp2_prepare_model (accelerate 1.15): 4 bytes a weight, 8 of AdamW, whatever is loaded."""
    est = estimate(trainer=trainer, sharding="fsdp", param_dtype=dtype)
    itemsize = 4 if upcasts or dtype == "float32" else 2
    weights = max(est.timeline.bytes["parameters"])
    assert weights == pytest.approx(itemsize * WEIGHTS / 8, rel=0.001)
    states = bytes_in(est, "optimizer", "forward")
    assert states == pytest.approx(2 * itemsize * WEIGHTS / 8, rel=0.001)


def test_weights_without_mixed_precision_and_adapters_of_4_bit_ones_are_not_upcast():
    plain = estimate(sharding="fsdp", mixed_precision="no", param_dtype="bfloat16")
    assert max(plain.timeline.bytes["parameters"]) == pytest.approx(2 * WEIGHTS / 8, rel=0.001)
    lora = {"sharding": "fsdp", "lora_dtype": "bfloat16", "param_dtype": "bfloat16"}
    for method, itemsize in (("lora", 4), ("qlora", 2)):
        est = estimate(training_method=method, **lora)
        states = bytes_in(est, "optimizer", "forward")
        assert states == pytest.approx(2 * itemsize * est.num_trainable / 8, rel=0.02)


def test_4_bit_weights_in_integers_stay_on_each_gpu():
    """``incompatible_params4bit`` in fsdp2_prepare_model: they are ignored."""
    qlora = {"training_method": "qlora", "sharding": "fsdp"}
    floats = estimate(**qlora)
    integers = estimate(**qlora, bnb_4bit_quant_storage="uint8")
    linears = WEIGHTS - 2 * 32000 * 4096  # all but the embedding and the lm_head
    more = max(integers.timeline.bytes["parameters"]) - max(floats.timeline.bytes["parameters"])
    assert more == pytest.approx(linears / 2 * 7 / 8, rel=0.01)


def test_what_fsdp_makes_names_the_stream_it_is_made_in():
    """foreach_all_gather and foreach_reduce in torch/distributed/fsdp/_fully_shard."""
    model = load(MODEL)
    streams = {
        "trl": ("all_gather", "reduce_scatter"),
        "training_hub": ("unshard", "post_backward"),
    }
    for trainer, (gathered, reduced) in streams.items():
        config = vw.TrainingConfig(
            MODEL,
            trainer=trainer,
            training_method="sft",
            sharding="fsdp",
            num_gpus=8,
            mixed_precision="bf16",
            param_dtype="float32",
        )
        record = replay(Run.of(config, model, resolve("H100", None, 1)[0]))
        found = {
            (each.what, each.component, each.stream)
            for segment in record.segments
            for _, each in segment.events
        }
        assert ("all-gather output", "buffers", gathered) in found
        assert ("gradient", "gradients", reduced) in found
        copied_out = {kind[2] for kind in found if kind[0] == "unsharded weights"}
        assert copied_out <= {""}
