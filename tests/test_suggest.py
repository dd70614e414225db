"""Every suggestion is estimated again and found true; none is beyond the trainer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vram_widget as vw
from vram_widget.advise import Suggestion
from vram_widget.advise.ladders.feasible import can, consistent
from vram_widget.advise.saving import GENTLEST_FIRST
from vram_widget.export import TARGETS, draft
from vram_widget.trainers import TRAINERS

GiB = 1024**3
LLAMA = "meta-llama/Llama-3.1-8B"

CASES: list[dict[str, Any]] = [
    {"gpu": "L40S", "num_gpus": 2},
    {"gpu": "L40S", "training_method": "osft"},
    {"gpu": "A100-80GB", "num_gpus": 16, "num_nodes": 2, "max_tokens_per_gpu": 65536},
    {"gpu": "T4", "training_method": "qlora", "max_seq_len": 32768, "micro_batch_size": 6},
    {"gpu": "L4", "training_method": "lora", "trainer": "trl", "max_seq_len": 4096},
    {"gpu": "RTX 4090", "trainer": "trl"},
    {"gpu": "A100-80GB", "num_gpus": 4, "trainer": "trl"},
    {"gpu": "L40S", "trainer": "trl", "training_method": "lora", "gradient_checkpointing": False},
    {"gpu": "H100", "trainer": "axolotl", "max_seq_len": 32768, "attn_implementation": "eager"},
    {"gpu": "L4", "trainer": "axolotl", "training_method": "qlora", "micro_batch_size": 12},
    {"gpu": "RTX 3090", "trainer": "torchtune", "max_seq_len": 1024},
    {"gpu": "L40S", "trainer": "torchtune", "optim": "adamw_torch", "loss_kernel": "eager"},
    {"gpu": "T4", "trainer": "unsloth", "training_method": "lora"},
    {"gpu": "T4", "trainer": "unsloth", "training_method": "qlora", "use_dora": True},
    {"gpu": "L40S", "training_method": "qlora", "trainer": "trl"},
    {"gpu": "H100", "num_gpus": 8},
    {"gpu": "B200", "num_gpus": 8, "training_method": "osft"},
    {"gpu": "H200", "training_method": "qlora", "trainer": "axolotl"},
]


@pytest.fixture(params=CASES, ids=lambda case: " ".join(map(str, case.values())))
def config(request: pytest.FixtureRequest) -> vw.TrainingConfig:
    return vw.TrainingConfig(LLAMA, **request.param)


def runnable(run: dict[str, Any]) -> dict[str, Any]:
    """Leave out a strategy that the trainer does not run the method by."""
    trainer = TRAINERS[run["trainer"]]
    can_run = trainer.can_run(run["training_method"], run.get("sharding", ""))
    return run if can_run else {k: each for k, each in run.items() if k != "sharding"}


runs = st.fixed_dictionaries(
    {
        "model_path": st.sampled_from(
            [
                "HuggingFaceTB/SmolLM2-135M",
                "ibm-granite/granite-3.3-2b-instruct",
                "google/gemma-2-2b",
                LLAMA,
                "allenai/OLMoE-1B-7B-0125",
                "Qwen/Qwen2.5-32B",
            ]
        ),
        "training_method": st.sampled_from(["sft", "lora", "qlora"]),
        "trainer": st.sampled_from(["training_hub", "trl", "unsloth", "axolotl", "torchtune"]),
        "gpu": st.sampled_from(["RTX 3060", "T4", "L4", "L40S", "A100-80GB", "MI300X"]),
    },
    optional={
        "max_seq_len": st.sampled_from([512, 4096, 16384]),
        "micro_batch_size": st.integers(1, 16),
        "gradient_accumulation_steps": st.sampled_from([1, 6]),
        "max_tokens_per_gpu": st.sampled_from([8192, 65536]),
        "gradient_checkpointing": st.booleans(),
        "attn_implementation": st.sampled_from(["eager", "sdpa"]),
        "loss_kernel": st.sampled_from(["eager", "chunked"]),
        "lora_r": st.sampled_from([8, 64]),
        "optim": st.sampled_from(["adamw_torch", "paged_adamw_8bit"]),
        "num_gpus": st.sampled_from([1, 2, 8]),
        "sharding": st.sampled_from(["ddp", "zero2", "zero3", "fsdp", "device_map"]),
        "tokens_per_sample": st.sampled_from([100, 3000]),
    },
).map(runnable)


def holds(config: vw.TrainingConfig, suggestion: Suggestion) -> None:
    before, after = vw.estimate(config), vw.estimate(config.replace(**suggestion.changes))
    assert tuple(after) == tuple(suggestion.estimate)
    assert after.verdict == suggestion.verdict
    assert suggestion.saves == before.expected - after.expected
    assert suggestion.fits == (after.high <= after.gpu.usable)
    usual = config.replace(
        training_method=suggestion.changes.get("training_method", config.training_method)
    )
    for name, value in suggestion.changes.items():
        assert value != getattr(config, name) or value != getattr(usual, name)


def can_be_exported(config: vw.TrainingConfig, suggestion: Suggestion) -> None:
    """Ask the export, for a trainer that has one: no change becomes a notice that it is lost."""
    if config.trainer in TARGETS:
        already = set(draft(config, config.trainer).unsupported)
        unsupported = set(draft(config.replace(**suggestion.changes), config.trainer).unsupported)
        assert not (unsupported - already) & suggestion.changes.keys()


def test_every_suggestion_is_true_and_can_be_exported(config: vw.TrainingConfig) -> None:
    suggestions = vw.suggest(config)
    assert suggestions
    for suggestion in suggestions:
        holds(config, suggestion)
        can_be_exported(config, suggestion)


@settings(max_examples=80, deadline=None)
@given(runs)
def test_so_it_is_for_any_run(run: dict[str, Any]) -> None:
    config = vw.TrainingConfig(**run)
    fits = vw.estimate(config).verdict == "fits"
    for suggestion in vw.suggest(config):
        holds(config, suggestion)
        can_be_exported(config, suggestion)
        if fits:
            assert suggestion.fits
        else:
            assert suggestion.fits or suggestion.saves > 0


def test_what_makes_it_fit_comes_first(config: vw.TrainingConfig) -> None:
    fits = [suggestion.fits for suggestion in vw.suggest(config)]
    assert fits == sorted(fits, reverse=True)


@pytest.mark.parametrize(("method", "batch"), [("lora", 4), ("lora", 16), ("qlora", 4)])
def test_a_batch_is_lowered_until_it_fits_and_not_to_where_it_may(method: str, batch: int) -> None:
    choices = {"training_method": method, "trainer": "trl", "gpu": "L4", "max_seq_len": 8192}
    config = vw.TrainingConfig("Qwen/Qwen2.5-7B", **choices, micro_batch_size=batch)
    lowered = [each for each in vw.suggest(config) if "micro_batch_size" in each.changes]
    assert any(each.estimate.high <= each.estimate.gpu.usable for each in lowered)


def test_from_a_combination_nothing_can_be_left_out() -> None:
    found = 0
    for case in CASES:
        config = vw.TrainingConfig(LLAMA, **case)
        now = vw.estimate(config)
        for suggestion in vw.suggest(config):
            changes = dict(suggestion.changes)
            follow = {"gradient_accumulation_steps", "num_nodes", "gpu_memory"}
            if "num_gpus" in changes:
                follow.add("sharding")
            parts = changes.keys() - follow - {"offload_activations"}
            if now.verdict == "fits" or "training_method" in changes or len(parts) < 2:
                continue
            found += 1
            assert suggestion.fits
            for part in parts:
                others = {name: value for name, value in changes.items() if name != part}
                assert vw.estimate(config.replace(**others)).verdict != "fits"
    assert found >= 3


def test_gentler_changes_that_do_together_are_suggested_before_harsher_ones() -> None:
    config = vw.TrainingConfig(LLAMA, training_method="lora", trainer="trl", gpu="L4")
    config = config.replace(max_seq_len=4096)
    best = vw.suggest(config)[0]
    # a bfloat16 base and fewer sequences at once: what is trained stays what it was
    assert best.changes == {
        "param_dtype": "bfloat16",
        "micro_batch_size": 2,
        "gradient_accumulation_steps": 4,
    }


def test_fewer_sequences_at_once_keep_the_effective_batch() -> None:
    seen = 0
    for case in CASES:
        config = vw.TrainingConfig(LLAMA, **case)
        for suggestion in vw.suggest(config):
            after = config.replace(**suggestion.changes)
            fewer = after.training_method == config.training_method and after.tokens < config.tokens
            if fewer and after.max_seq_len == config.max_seq_len:
                seen += 1
                assert (
                    after.tokens * after.gradient_accumulation_steps * after.num_gpus
                    == config.tokens * config.gradient_accumulation_steps * config.num_gpus
                )
    assert seen


def test_gradients_that_go_in_backward_are_not_summed() -> None:
    config = vw.TrainingConfig(LLAMA, trainer="torchtune", optimizer_in_backward=True)
    assert consistent(config.replace(gradient_accumulation_steps=1).config)
    assert not consistent(config.replace(gradient_accumulation_steps=2).config)


def test_another_method_keeps_the_batch() -> None:
    config = vw.TrainingConfig(LLAMA, gpu="L4", max_seq_len=16384)
    usual = vw.TrainingConfig(LLAMA, training_method="qlora").micro_batch_size
    assert usual != config.micro_batch_size
    methods = [s for s in vw.suggest(config) if "training_method" in s.changes]
    assert methods
    for suggestion in methods:
        assert config.replace(**suggestion.changes).tokens == config.tokens


def test_training_hub_always_checkpoints_and_steps_with_its_own_optimizer() -> None:
    for method in ("sft", "osft", "lora", "qlora"):
        for gpu in ("L4", "B200"):
            config = vw.TrainingConfig(LLAMA, training_method=method, gpu=gpu)
            for suggestion in vw.suggest(config):
                if "training_method" not in suggestion.changes:
                    own = {"optim", "gradient_checkpointing", "loss_kernel", "param_dtype"}
                    assert not own & suggestion.changes.keys()


def test_one_liger_is_suggested_where_it_helps_and_not_where_there_is_none() -> None:
    def liger(model: str) -> bool:
        config = vw.TrainingConfig(
            model, trainer="axolotl", training_method="lora", gpu="T4", micro_batch_size=16
        )
        return any("use_liger" in suggestion.changes for suggestion in vw.suggest(config))

    assert liger("Qwen/Qwen2.5-7B")
    assert not liger("EleutherAI/pythia-6.9b")


def test_flash_attention_is_not_suggested_for_a_card_that_cannot_run_it() -> None:
    def attention(gpu: str) -> set[str]:
        config = vw.TrainingConfig(
            LLAMA, trainer="trl", training_method="qlora", gpu=gpu, attn_implementation="eager"
        ).replace(max_seq_len=8192)
        found = (s.changes.get("attn_implementation") for s in vw.suggest(config))
        return set(found) - {None}

    assert attention("T4") == {"sdpa"}
    assert attention("L4") == {"flash_attention_2"}


def test_a_larger_card_is_larger_of_the_same_vendor_and_no_slower() -> None:
    config = vw.TrainingConfig(LLAMA, gpu="MI210")
    card = next(s for s in vw.suggest(config) if "gpu" in s.changes)
    old, new = vw.estimate(config).gpu, card.estimate.gpu
    assert card.fits
    assert new.vendor == old.vendor == "AMD"
    assert new.usable > old.usable
    assert new.bandwidth >= old.bandwidth


def test_room_is_spent_on_what_is_wanted() -> None:
    config = vw.TrainingConfig(LLAMA, training_method="qlora", trainer="trl", gpu="H100")
    spent: dict[str, Any] = {}
    for suggestion in vw.suggest(config):
        spent |= suggestion.changes
    assert {"training_method", "lora_r", "max_seq_len", "micro_batch_size"} <= spent.keys()
    assert spent["training_method"] == "lora"
    assert spent["lora_r"] > config.lora_r


def test_gpus_that_are_not_needed_are_given_back() -> None:
    config = vw.TrainingConfig("HuggingFaceTB/SmolLM2-135M", gpu="H100", num_gpus=8)
    frees = next(s for s in vw.suggest(config) if "num_gpus" in s.changes)
    assert frees.changes["num_gpus"] == 1
    assert frees.changes["gradient_accumulation_steps"] == 8


def test_it_says_so_in_one_sentence_and_in_json() -> None:
    config = vw.TrainingConfig(LLAMA, trainer="trl", training_method="lora", gpu="A100-40GB")
    config = config.replace(
        param_dtype="bfloat16",
        gradient_checkpointing=False,
        micro_batch_size=2,
        max_seq_len=2048,
    )
    suggestions = vw.suggest(config)
    on = next(s for s in suggestions if s.changes == {"gradient_checkpointing": True})
    assert on.text == (
        f"Turn on gradient checkpointing: saves {on.saves / GiB:.1f} GiB, about 30 % slower"
    )
    shown = suggestions._repr_html_()
    assert all(suggestion.cost in shown for suggestion in suggestions)
    assert str(on).endswith("GiB on each GPU)")


def test_checkpointing_costs_about_what_is_said() -> None:
    config = vw.TrainingConfig(LLAMA, trainer="trl", training_method="sft", gpu="H100")
    on, off = (
        vw.run_time(config.replace(gradient_checkpointing=on)).seconds.expected
        for on in (True, False)
    )
    assert on / off == pytest.approx(1.3, abs=0.07)


def test_a_suggestion_can_be_applied_to_a_widget() -> None:
    widget = vw.VRAMWidget(LLAMA, gpu="L40S", num_gpus=2)
    for suggestion in vw.suggest(widget):
        applied = vw.VRAMWidget(**widget.config)
        for name, value in suggestion.changes.items():
            setattr(applied, name, value)
        assert tuple(applied.estimate) == tuple(suggestion.estimate)


def test_every_ladder_is_of_use_somewhere() -> None:
    """None is in the list for show: each is suggested, alone or with others, for some run."""
    used: set[str] = set()
    more: list[dict[str, Any]] = [
        {"gpu": "H100", "keeps_outputs": True, "max_seq_len": 65536, "trainer": "trl"},
        {
            "gpu": "L4",
            "trainer": "axolotl",
            "training_method": "qlora",
            "bnb_4bit_use_double_quant": False,
            "micro_batch_size": 16,
            "lora_r": 256,
            "max_seq_len": 8192,
        },
        {
            "gpu": "L40S",
            "trainer": "trl",
            "training_method": "lora",
            "param_dtype": "bfloat16",
            "gradient_checkpointing": False,
            "use_dora": True,
        },
    ]
    for case in [*CASES, *more]:
        for suggestion in vw.suggest(vw.TrainingConfig(LLAMA, **case)):
            used |= suggestion.changes.keys()
    assert used >= {
        "keeps_outputs",
        "attn_implementation",
        "optim",
        "loss_kernel",
        "use_liger",
        "param_dtype",
        "optimizer_in_backward",
        "sharding",
        "micro_batch_size",
        "gradient_checkpointing",
        "offload_activations",
        "bnb_4bit_use_double_quant",
        "cpu_offload",
        "lora_dropout",
        "use_dora",
        "lora_r",
        "unfreeze_rank_ratio",
        "max_seq_len",
        "num_gpus",
        "training_method",
        "gpu",
    }
    assert len(GENTLEST_FIRST) == len(set(GENTLEST_FIRST))


@pytest.mark.parametrize(
    ("trainer", "able"), [("trl", True), ("axolotl", True), ("unsloth", False)]
)
def test_a_base_of_four_bits_is_sharded_by_the_trainers_that_can(trainer: str, able: bool) -> None:
    config = vw.TrainingConfig(
        "meta-llama/Llama-3.1-70B",
        trainer=trainer,
        training_method="qlora",
        gpu="L40S",
        optim="adamw_torch_fused",
        micro_batch_size=1,
    )
    found = [each for each in vw.suggest(config) if "num_gpus" in each.changes]
    assert any(each.fits for each in found) == able
    for quantization, sharded in (("nf4", able), ("int8", False)):
        whole = config.replace(quantization=quantization)
        assert can(whole, {"num_gpus": 2, "sharding": "zero3"}) == sharded
