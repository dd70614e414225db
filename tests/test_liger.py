"""What `use_liger` does depends on the family and on who asks Liger."""

from __future__ import annotations

from math import ceil, log2

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


@pytest.mark.parametrize("tokens", [2048, 5000, 8192])
@pytest.mark.parametrize(("method", "trains"), [("sft", True), ("lora", False)])
@pytest.mark.parametrize("model", [LLAMA, "Qwen/Qwen2.5-0.5B", "HuggingFaceTB/SmolLM2-1.7B"])
def test_a_chunk_has_the_rows_that_ligers_source_gives_it(
    model: str, method: str, trains: bool, tokens: int
) -> None:
    """Chunks in liger_kernel/ops/fused_linear_cross_entropy.py (0.8), where nothing is float32.

    Without logits the loss makes, beside what it keeps, the logits of a chunk and that chunk's part
    of the head's gradient.
    """
    found = estimate(
        model,
        trainer="axolotl",
        training_method=method,
        param_dtype="bfloat16",
        mixed_precision="no",
        lora_dtype="bfloat16",
        use_liger=True,
        padded=False,
        micro_batch_size=1,
        max_seq_len=tokens,
        gpu="H100",
    )
    vocabulary, hidden = found.architecture.vocab_size, found.architecture.hidden_size
    inc_factor = ceil(vocabulary / hidden)
    chunk_size = min(tokens, 2 ** ceil(log2(ceil(tokens / inc_factor))))
    grad_input, loss_1d = 2 * tokens * hidden, 4 * tokens
    logits_chunk, grad_weight_of_chunk = 2 * chunk_size * vocabulary, 2 * vocabulary * hidden
    made = grad_input + loss_1d + logits_chunk + trains * grad_weight_of_chunk
    assert most_outputs(found) == pytest.approx(made, rel=0.001)
