"""Which models fit which hardware, and where the web's hand-written guide holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any, NamedTuple

import pytest

import vram_widget as vw
from vram_widget.advise import Recommendation
from vram_widget.model import catalog
from vram_widget.model.load import load

GiB = 1024**3


@pytest.fixture(scope="module")
def whole() -> Recommendation:
    return vw.recommend(gpu="L40S", num_gpus=2)


def test_every_model_of_the_catalogue_is_in_it_once(whole: Recommendation) -> None:
    shown = [name for row in whole.rows for name in (row.model_path, *row.also)]
    assert sorted(shown) == sorted(catalog.names())
    for row in whole.rows:
        assert {load(name).num_parameters for name in row.also} <= {row.num_parameters}


def test_every_method_has_a_verdict_or_a_reason(whole: Recommendation) -> None:
    assert whole.methods == ("sft", "lora", "qlora", "osft")
    for row in whole.rows:
        assert row.outcomes.keys() | row.refused.keys() == set(whole.methods)
        assert not row.outcomes.keys() & row.refused.keys()


def test_a_cell_is_the_estimate_at_plain_settings(whole: Recommendation) -> None:
    for row in whole.rows[::9]:
        for method, outcome in row.outcomes.items():
            found = vw.estimate(
                row.model_path,
                training_method=method,
                gpu="L40S",
                num_gpus=2,
                micro_batch_size=1,
                max_seq_len=2048,
                gradient_checkpointing=True,
            )
            assert outcome == (*found, found.verdict)


def test_no_cell_is_less_than_the_weights_alone(whole: Recommendation) -> None:
    for row in whole.rows:
        if "sft" in row.outcomes:  # float32 weights, gradients and AdamW, over two GPUs
            assert row.outcomes["sft"].expected > 16 * row.num_parameters / 2
        if "qlora" in row.outcomes:
            assert row.outcomes["qlora"].expected > row.num_parameters / 2


def test_what_exceeds_the_card_by_its_weights_does_not_fit(whole: Recommendation) -> None:
    for row in whole.rows:
        if row.num_parameters * 16 / 2 > 48 * GiB:
            assert row.verdict("sft") in ("does_not_fit", None)


def test_the_largest_model_comes_first(whole: Recommendation) -> None:
    names = " ".join(row.model_path for row in whole.rows)
    assert re.findall(r"Llama-3\.\d-(\d+)B", names) == ["405", "70", "8", "3", "1"]


def test_what_fits_by_arithmetic_is_named_and_what_cannot_is_not() -> None:
    found = vw.recommend("L40S", models=MODELS)
    for method in ("sft", "lora", "qlora"):
        fitting = found.fitting(method)
        for model in MODELS:
            if least(model, method, {}) > 48 * GiB:
                assert model not in fitting
            if method != "sft" and most(model, method, {}) < 44 * GiB:
                assert model in fitting
    # LoRA on a 14B takes at most 37.2 GiB, and on the next one, a 27B, at least 50.7
    assert "3 of 6 fit, the largest Qwen/Qwen2.5-14B" in repr(found)
    assert re.search(r"SFT +0 of +6 fit$", repr(found), re.MULTILINE)


def test_what_is_only_likely_to_fit_is_not_named(whole: Recommendation) -> None:
    likely = [row.model_path for row in whole.rows if row.verdict("sft") in ("likely", "risky")]
    assert likely
    assert not {*likely} & {*whole.fitting("sft")}


def test_it_shows_itself_as_a_table_and_a_picture(whole: Recommendation) -> None:
    shown = whole._repr_html_()
    assert shown.count("<tr>") == len(whole.rows) + 1
    figure = whole.plot()
    assert len(figure.axes[0].patches) == len(whole.rows) * len(whole.methods)
    assert "2 × L40S" in repr(whole)


#: Run by itself: tqdm reads its settings from the environment when it is imported.
SHORT_OF_PATIENCE = """
import sys
import vram_widget as vw
module = sys.modules["vram_widget.advise.recommend"]
module.PATIENCE = float(sys.argv[1])
vw.recommend("T4", models=["HuggingFaceTB/SmolLM2-135M", "Qwen/Qwen3-0.6B"])
"""


@pytest.mark.parametrize(("patience", "shown"), [(1e-9, True), (60, False)])
def test_what_takes_long_says_how_far_it_is(patience: float, shown: bool) -> None:
    environment = {**os.environ, "TQDM_MININTERVAL": "0"}
    environment.pop("TQDM_DISABLE", None)
    command = [sys.executable, "-c", SHORT_OF_PATIENCE, str(patience)]
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert ("Models: " in run.stderr) is shown


def test_a_trainer_has_only_the_methods_it_can_run() -> None:
    found = vw.recommend("H100", models=["Qwen/Qwen3-0.6B"], trainer="trl", max_seq_len=512)
    assert found.methods == ("sft", "lora", "qlora")
    assert found.title == "1 × H100, 1 × 512 tokens"


@pytest.mark.parametrize(
    ("choices", "error", "why"),
    [
        ({"gpu": "L40X"}, vw.GPUError, "catalogue"),
        ({"gpu": "L40S", "training_method": "lora"}, vw.ConfigError, "every training_method"),
        ({"gpu": "L40S", "lora_rank": 4}, vw.UnknownFieldError, "lora_r"),
        ({"gpu": "L40S", "micro_batch_size": 0}, vw.ConfigError, "micro_batch_size"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(
    choices: dict[str, Any], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        vw.recommend(models=["Qwen/Qwen3-0.6B"], **choices)


# -- the common web guide ----------------------------------------------------------------------


class Dimensions(NamedTuple):
    """A dense model as its paper or card describes it."""

    layers: int
    hidden: int
    intermediate: int
    queries: int
    keys: int
    vocabulary: int
    tied: bool

    @property
    def linears(self) -> int:
        attention = 2 * self.hidden * self.queries + 2 * self.hidden * self.keys
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def outside(self) -> int:
        return self.vocabulary * self.hidden * (1 if self.tied else 2)


MODELS = {
    "meta-llama/Llama-3.1-8B": Dimensions(32, 4096, 14336, 4096, 1024, 128256, False),
    "google/gemma-2-9b": Dimensions(42, 3584, 14336, 4096, 2048, 256000, True),
    "Qwen/Qwen2.5-14B": Dimensions(48, 5120, 13824, 5120, 1024, 152064, False),
    "google/gemma-2-27b": Dimensions(46, 4608, 36864, 4096, 2048, 256000, True),
    "Qwen/Qwen2.5-32B": Dimensions(64, 5120, 27648, 5120, 1024, 152064, False),
    "meta-llama/Meta-Llama-3-70B": Dimensions(80, 8192, 28672, 8192, 1024, 128256, False),
}


def least(model: str, method: str, choices: dict[str, Any]) -> float:
    """Return the bytes of the states alone: no run takes less."""
    size = MODELS[model]
    if method == "qlora":
        return size.linears * 0.5 + size.outside * 2
    if method == "lora":
        return (size.linears + size.outside) * 2
    bytes_each = 8 if choices.get("param_dtype") == "bfloat16" else 16
    return (size.linears + size.outside) * bytes_each


def most(model: str, method: str, choices: dict[str, Any]) -> float:
    """Return generous bytes of an adapter run with checkpointing: no such run takes more."""
    size, tokens = MODELS[model], choices.get("max_seq_len", 2048)
    stored = size.linears * (0.5 + 4 / 64 if method == "qlora" else 2) + size.outside * 2
    adapters = size.layers * 16 * 7 * 2 * max(size.intermediate, size.queries) * 16
    kept = size.layers * tokens * size.hidden * 2
    block = tokens * 30 * (size.hidden + size.intermediate)
    whole_weight = 2 * size.hidden * size.intermediate
    logits = 14 * tokens * size.vocabulary / 4  # in eight parts: one and its gradient
    return 1.1 * (stored + adapters + kept + block + whole_weight + logits) + GiB


#: The guide's claims (batch 1, 2,048 tokens, checkpointing), the card, and what is found, with the
#: trainers of Training Hub unless said.
CLAIMS: list[tuple[str, str, str, dict[str, Any], str]] = [
    # 12-16 GB: QLoRA up to 8-9B. It holds.
    ("RTX 3060", "qlora", "meta-llama/Llama-3.1-8B", {}, "fits"),
    ("RTX 3060", "qlora", "google/gemma-2-9b", {}, "fits"),
    # 24 GB: QLoRA to about 14B, LoRA to 8B, QLoRA 27-32B with short sequences. It holds.
    ("RTX 4090", "qlora", "Qwen/Qwen2.5-14B", {}, "fits"),
    ("RTX 4090", "lora", "meta-llama/Llama-3.1-8B", {}, "fits"),
    ("RTX 4090", "qlora", "google/gemma-2-27b", {"max_seq_len": 512}, "fits"),
    ("RTX 4090", "qlora", "Qwen/Qwen2.5-32B", {"max_seq_len": 512}, "fits"),
    # 48 GB: QLoRA 70B. It holds; on an L40S, of which ECC leaves 44 GiB, with nothing to spare.
    ("RTX A6000", "qlora", "meta-llama/Meta-Llama-3-70B", {}, "fits"),
    ("L40S", "qlora", "meta-llama/Meta-Llama-3-70B", {}, "likely"),
    # 80 GB: LoRA 70B. It does not hold: the frozen base in 16 bits alone takes 131 GiB.
    ("H100", "lora", "meta-llama/Meta-Llama-3-70B", {}, "does_not_fit"),
    # 80 GB: full fine-tuning of 7-8B. It does not hold as Training Hub trains, with float32
    # weights; it does in bfloat16.
    ("H100", "sft", "meta-llama/Llama-3.1-8B", {}, "does_not_fit"),
    (
        "H100",
        "sft",
        "meta-llama/Llama-3.1-8B",
        {"trainer": "trl", "param_dtype": "bfloat16"},
        "fits",
    ),
]


@pytest.mark.parametrize(("gpu", "method", "model", "choices", "verdict"), CLAIMS)
def test_the_guides_claims(
    gpu: str, method: str, model: str, choices: dict[str, Any], verdict: str
) -> None:
    row = vw.recommend(gpu, models=[model], **choices).rows[0]
    found = row.outcomes[method]
    assert found.verdict == verdict
    size = MODELS[model]
    assert row.num_parameters == pytest.approx(size.linears + size.outside, rel=1e-3)
    card = vw.estimate(model, training_method="qlora", gpu=gpu).gpu
    states = least(model, method, choices)
    assert found.low > states
    if states > card.memory:
        assert verdict == "does_not_fit"
    if method != "sft" and most(model, method, choices) < card.usable:
        assert verdict == "fits"


def test_arithmetic_alone_decides_the_claims_that_fail() -> None:
    failed = [claim for claim in CLAIMS if claim[-1] == "does_not_fit"]
    assert len(failed) == 2
    for _, method, model, choices, _ in failed:
        assert least(model, method, choices) > 80 * GiB


def test_the_guides_figures_for_an_8b_are_high_for_adapters_and_low_for_full_training() -> None:
    """It says 10-14 GB for QLoRA, 20-24 for LoRA and over 100 for full fine-tuning."""
    row = vw.recommend("H200", models=["meta-llama/Llama-3.1-8B"]).rows[0]
    gb = {method: row.outcomes[method].expected / 1e9 for method in ("qlora", "lora", "sft")}
    assert least("meta-llama/Llama-3.1-8B", "qlora", {}) / 1e9 < gb["qlora"] < 10
    assert least("meta-llama/Llama-3.1-8B", "lora", {}) / 1e9 < gb["lora"] < 20
    assert gb["sft"] > least("meta-llama/Llama-3.1-8B", "sft", {}) / 1e9 > 100


def test_rank_scales_the_adapters_memory_in_proportion_and_rarely_decides() -> None:
    config = vw.TrainingConfig("meta-llama/Llama-3.1-8B", training_method="lora", gpu="A100-80GB")
    at = {rank: vw.estimate(config.replace(lora_r=rank)) for rank in (16, 32, 64, 128)}
    assert at[32].num_trainable == 2 * at[16].num_trainable
    assert at[128].num_trainable == 8 * at[16].num_trainable
    assert at[128].expected < 1.25 * at[16].expected


def test_lora_trains_less_than_one_per_cent_at_the_usual_rank() -> None:
    for model in MODELS:
        found = vw.estimate(model, training_method="lora", gpu="H100", lora_r=16)
        assert found.num_trainable < 0.01 * found.num_parameters


def test_accumulating_keeps_the_effective_batch_at_a_fraction_of_the_memory() -> None:
    config = vw.TrainingConfig("meta-llama/Llama-3.1-8B", training_method="lora", gpu="H100")
    at_once = vw.estimate(config.replace(micro_batch_size=32))
    one_by_one = vw.estimate(config.replace(micro_batch_size=1, gradient_accumulation_steps=32))
    weights = 2 * at_once.num_parameters
    assert one_by_one.expected - weights < (at_once.expected - weights) / 5
