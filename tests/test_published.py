"""The closed formulas against arithmetic done by hand on Llama 3.1 8B's published dimensions."""

import pytest

from vram_widget import TrainingConfig
from vram_widget.errors import ConfigError
from vram_widget.estimate.published import estimate
from vram_widget.model.load import load

LLAMA = "meta-llama/Llama-3.1-8B"
N, L, H, V, INNER, KV = 8_030_261_248, 32, 4096, 128_256, 14_336, 1024

#: Rows plus columns of the seven projections of one layer.
EDGES = (H + H) + 2 * (H + KV) + (H + H) + 3 * (H + INNER)
#: Numbers in U, S and V of the same.
SINGULAR = sum(
    min(m, n) * (m + n) + min(m, n)
    for m, n in [(H, H), (KV, H), (KV, H), (H, H), (INNER, H), (INNER, H), (H, INNER)]
)


def published(**choices):
    choices = {"memory_model": "training_hub", **choices}
    config = TrainingConfig(LLAMA, **choices)
    return estimate(load(LLAMA), config)


def test_full_fine_tuning_shards_states_over_the_gpus():
    result = published(training_method="sft", num_gpus=4, max_tokens_per_gpu=10_000)
    sizes = {
        "parameters": N,
        "optimizer": 2 * N,
        "gradients": N,
        "activations": 4 * 10_000 * L * H,
        "outputs": 4 * 10_000 * V * 8 / 3,
    }
    assert {name: result.components[name] for name in sizes} == pytest.approx(sizes, abs=1)
    total = sum(sizes.values())
    figures = (result.low, result.expected, result.high)
    assert figures == pytest.approx((total, 1.1 * total, 1.3 * total), abs=2)


def test_osft_adds_the_decomposed_weights():
    result = published(training_method="osft", max_tokens_per_gpu=1000)
    assert result.components["parameters"] == 4 * (N + L * SINGULAR)
    assert result.components["gradients"] == 4 * N
    assert result.components["outputs"] == pytest.approx(4 * 1000 * V * 7 / 3, abs=1)


@pytest.mark.parametrize("saver", [{"use_liger": True}, {"loss_kernel": "liger"}])
@pytest.mark.parametrize("method", ["sft", "osft"])
def test_liger_makes_no_outputs(method, saver):
    assert published(training_method=method, **saver).components["outputs"] == 0


@pytest.mark.parametrize("gpus", [1, 8])
def test_lora_replicates_the_base_on_every_gpu(gpus):
    result = published(
        training_method="lora", lora_r=16, num_gpus=gpus, micro_batch_size=2, max_seq_len=512
    )
    adapters = 16 * L * EDGES
    assert result.components["parameters"] == pytest.approx(2 * N + 2 * adapters / gpus, abs=1)
    assert result.components["optimizer"] == pytest.approx(4 * adapters / gpus, abs=1)


def test_lora_counts_the_larger_of_gradients_and_outputs():
    long = published(training_method="lora", lora_r=8, micro_batch_size=8, max_seq_len=4096)
    assert long.components["gradients"] == 0
    assert long.components["outputs"] == 2 * 8 * 4096 * V * 2
    wide = published(training_method="lora", lora_r=4096, micro_batch_size=1, max_seq_len=16)
    assert wide.components["gradients"] == 2 * 4096 * L * EDGES
    assert wide.components["outputs"] == 0


@pytest.mark.parametrize("memory_model", ["training_hub", "rule_of_thumb"])
@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize(
    ("choice", "complaint"),
    [({"lora_r": 8192}, "lora_r = 8,192"), ({"target_modules": ["no_proj"]}, "no_proj")],
)
def test_adapters_are_refused_as_the_replay_refuses_them(memory_model, method, choice, complaint):
    with pytest.raises(ConfigError, match=complaint):
        published(memory_model=memory_model, training_method=method, **choice)


def test_lora_targets_are_found_by_the_names_of_the_weights():
    few = published(
        training_method="lora",
        lora_r=16,
        target_modules=["q_proj", "v_proj"],
        micro_batch_size=1,
        max_seq_len=16,
    )
    adapters = 16 * L * (2 * H + H + KV)
    assert few.components["parameters"] == 2 * N + 2 * adapters


def test_qlora_is_never_under_the_unquantised_model():
    short = published(training_method="qlora", micro_batch_size=1, max_seq_len=512)
    assert (short.low, short.peak_phase) == (int(0.95 * 2 * N), "load")
    assert short.high == int(1.3 * 2 * N)
    long = published(
        training_method="qlora", lora_r=16, micro_batch_size=16, max_seq_len=4096, use_liger=False
    )
    assert long.peak_phase == "backward"
    assert long.components["parameters"] == N // 2 + 2 * 16 * L * EDGES


@pytest.mark.parametrize("method", ["sft", "osft", "lora", "qlora"])
def test_components_sum_to_the_expected_figure(method):
    result = published(training_method=method, num_gpus=3, max_tokens_per_gpu=777)
    assert sum(result.components.values()) == result.expected
    assert min(result.components.values()) >= 0


def test_the_rule_of_thumb_counts_twelve_bytes_a_trained_parameter():
    config = {"training_method": "sft", "memory_model": "rule_of_thumb", "max_seq_len": 2048}
    result = published(**config, optim="adamw_torch", gradient_checkpointing=True)
    states = {name: result.components[name] for name in ("parameters", "gradients", "optimizer")}
    assert states == {"parameters": 2 * N, "gradients": 2 * N, "optimizer": 8 * N}
    activations = 0.15 * 34 * 2048 * L * H
    assert result.expected == pytest.approx(12 * N + activations, abs=1)
    plain = published(**config, gradient_checkpointing=False)
    saved = 1 - result.components["activations"] / plain.components["activations"]
    assert saved == pytest.approx(0.85, abs=1e-6)


def test_the_rule_of_thumb_quarters_an_8bit_optimizer():
    config = {"training_method": "sft", "memory_model": "rule_of_thumb"}
    whole = published(**config, optim="adamw_torch").components["optimizer"]
    assert published(**config, optim="adamw_8bit").components["optimizer"] == whole / 4


def test_the_rule_of_thumb_gives_one_figure_and_0_55_bytes_a_weight_in_nf4():
    result = published(training_method="qlora", memory_model="rule_of_thumb", lora_r=16)
    assert result.low == result.expected == result.high
    adapters = 16 * L * EDGES
    assert result.components["parameters"] == int(0.55 * N + 2 * adapters)


def test_the_rule_of_thumb_does_not_pretend_to_know_osft():
    with pytest.raises(ConfigError, match="OSFT"):
        published(training_method="osft", memory_model="rule_of_thumb")


def test_the_replay_is_no_published_formula():
    with pytest.raises(ConfigError, match="memory_model"):
        published(memory_model="replay")
