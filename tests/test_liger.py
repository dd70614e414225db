"""What `use_liger` does depends on the family and on who asks Liger."""

from __future__ import annotations

import pytest

from vram_widget import MemoryEstimate, estimate

TOKENS = 8192
LLAMA = "meta-llama/Llama-3.1-8B"
GRANITE = "ibm-granite/granite-3.3-2b-instruct"


def run(model: str, method: str, trainer: str, liger: bool) -> MemoryEstimate:
    return estimate(
        model,
        training_method=method,
        trainer=trainer,
        use_liger=liger,
        max_tokens_per_gpu=TOKENS,
        max_seq_len=TOKENS,
        num_gpus=8,
        gpu="H100",
    )


def most_outputs(found: MemoryEstimate) -> int:
    return max(found.timeline.bytes["outputs"])


@pytest.mark.parametrize(
    ("model", "method", "trainer"),
    [
        (GRANITE, "osft", "training_hub"),  # Liger has no fused linear loss for Granite
        (GRANITE, "sft", "trl"),
        (LLAMA, "sft", "training_hub"),  # instructlab-training needs the logits
    ],
)
def test_where_the_logits_are_needed_they_are_made(model: str, method: str, trainer: str) -> None:
    found = run(model, method, trainer, liger=True)
    logits = 4 * TOKENS * found.architecture.vocab_size
    assert most_outputs(found) >= logits


@pytest.mark.parametrize(("method", "trainer"), [("osft", "training_hub"), ("sft", "axolotl")])
def test_elsewhere_they_are_not(method: str, trainer: str) -> None:
    found = run(LLAMA, method, trainer, liger=True)
    logits = 2 * TOKENS * found.architecture.vocab_size
    assert most_outputs(found) < logits


def test_a_family_that_liger_does_not_know_runs_as_without_it() -> None:
    model = "EleutherAI/pythia-1b"
    with_it, without = (run(model, "sft", "axolotl", liger=on) for on in (True, False))
    assert with_it.allocated == without.allocated
