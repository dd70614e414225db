"""What a loss makes of the logits, and Liger's kernels keep of a layer: by their own sources."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

import vram_widget as vw
from vram_widget.step import losses, ops
from vram_widget.step.tape import BFLOAT16, FLOAT32, INT64, Leaf, Node, Tape, Tensor

TOKENS, WORDS = 2048, 128_000
HIDDEN, INNER, HEADS, KEY_HEADS, HEAD = 1024, 4096, 8, 2, 128


@pytest.fixture
def estimate(tmp_path: Path):
    """Return a function that estimates a small Llama in bfloat16."""

    def run(layers: int = 2, **choices: Any) -> vw.MemoryEstimate:
        config = {
            "model_type": "llama",
            "num_hidden_layers": layers,
            "hidden_size": HIDDEN,
            "intermediate_size": INNER,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KEY_HEADS,
            "head_dim": HEAD,
            "vocab_size": WORDS,
        }
        folder = tmp_path / str(layers)
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        plain = {
            "trainer": "axolotl",
            "training_method": "sft",
            "param_dtype": "bfloat16",
            "mixed_precision": "no",
            "gradient_checkpointing": False,
            "attn_implementation": "flash_attention_2",
            "padded": False,
            "micro_batch_size": 1,
            "max_seq_len": TOKENS,
            "use_liger": False,
            "gpu": "H100",
        }
        return vw.estimate(str(folder), **{**plain, **choices})

    return run


def most_outputs(est: vw.MemoryEstimate) -> float:
    """Return the most bytes of logits and losses, for each logit."""
    return max(est.timeline.bytes["outputs"]) / (TOKENS * WORDS)


def test_a_fused_loss_has_the_logits_in_both_precisions_and_no_more(estimate):
    """Unsloth's and Liger's cross-entropy write the gradient over the float32 logits."""
    assert most_outputs(estimate(loss_kernel="fused")) == pytest.approx(2 + 4, rel=0.001)


def test_a_chunked_loss_takes_an_eighth_at_a_time(estimate):
    """torchtune's CEWithChunkedOutputLoss: num_output_chunks=8."""
    whole, chunked = (most_outputs(estimate(loss_kernel=name)) for name in ("eager", "chunked"))
    hidden_states = 3 * 2 * HIDDEN / WORDS  # what goes in, and the gradients of the other chunks
    assert chunked == pytest.approx(whole / 8, abs=hidden_states)


def kept_of_a_layer(estimate, **choices: Any) -> int:
    """Return the bytes that one more layer leaves for backward."""

    def kept(layers: int) -> int:
        line = estimate(layers, **choices).timeline
        moments = list(zip(line.step, line.phase, strict=True))
        return line.bytes["activations"][moments.index((2, "backward"))]

    return kept(5) - kept(4)


def test_ligers_kernels_keep_what_their_sources_save(estimate):
    """ctx.save_for_backward in liger_kernel/ops (0.8): rms_norm.py, swiglu.py, rope.py."""
    keys = KEY_HEADS * HEAD
    rms_norms = 2 * (2 * HIDDEN + 4)  # X, and RSTD in float32
    swiglu = 2 * 2 * INNER  # a and b; rope saves only cos and sin, which all layers share
    linears = 2 * (HIDDEN + HIDDEN + INNER)  # into q, k and v, gate and up, and down
    attention = 2 * (HEADS * HEAD + 2 * keys + HEADS * HEAD) + 4 * HEADS  # o_proj's input is out
    saved = TOKENS * (rms_norms + swiglu + linears + attention)
    assert kept_of_a_layer(estimate, use_liger=True) == pytest.approx(saved, rel=0.0001)


#: What cut cross-entropy takes for Gemma 2 2B and 8,192 tokens: Table 1 of "Cut Your Losses in
#: Large-Vocabulary Language Models" (arXiv 2411.09009), in MB of 2**20 bytes.
CUT_LOSS, CUT_LOSS_AND_GRADIENT = 1, 1_164


def test_cut_cross_entropy_takes_what_its_authors_measured():
    tape = Tape(flops=1e15, bandwidth=3e12)
    x, weight = tape.new(8192, 2304, BFLOAT16, "x"), tape.new(256_000, 2304, BFLOAT16, "lm_head")
    x.node, weight.node = Node(tape, (), lambda grad: ()), Leaf()
    before = len(tape.log)
    loss = losses.cut(x, weight)
    forward = list(accumulate(nbytes for nbytes, _ in tape.log[before:]))
    assert max(forward) / 2**20 == pytest.approx(CUT_LOSS, abs=0.5)
    assert isinstance(loss.node, Node)
    loss.node.accumulate(tape.new(1, 1, FLOAT32, "gradient"))
    tape.backward()
    most = max(accumulate(nbytes for nbytes, _ in tape.log[before:]))
    assert most / 2**20 == pytest.approx(CUT_LOSS_AND_GRADIENT, abs=1.5)


def test_cut_cross_entropy_never_makes_the_logits(estimate):
    cut, liger = estimate(loss_kernel="cut"), estimate(loss_kernel="liger")
    assert max(cut.timeline.bytes["outputs"]) < max(liger.timeline.bytes["outputs"])
    assert most_outputs(cut) < 0.1


def _peak_in_torch(trains: bool) -> int:
    """Return the most bytes of torchtune's LinearCrossEntropyLoss, in PyTorch's own operators."""
    torch = pytest.importorskip("torch")
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.nn import functional

    from vram_widget.trace.storages import StorageLog

    log = StorageLog(512)
    with FakeTensorMode():
        hidden = torch.empty(TOKENS, HIDDEN, dtype=torch.bfloat16, requires_grad=True)
        weight = torch.empty(WORDS, HIDDEN, dtype=torch.bfloat16, requires_grad=trains)
        labels = torch.zeros(TOKENS, dtype=torch.int64)
        with log:
            outputs = hidden.clone()
            indices = torch.empty(TOKENS, dtype=torch.int64)
            total = torch.zeros(())
            parts = outputs.index_select(0, indices).tensor_split(8), labels.tensor_split(8)
            for part, targets in zip(*parts, strict=True):
                logits = functional.linear(part, weight).float()
                total = total + functional.cross_entropy(logits, targets, reduction="sum")
                del logits
            del parts, part, outputs
            total.backward()
    return max(accumulate(event.nbytes for event in log.events)) - weight.nbytes


@pytest.mark.parametrize("trains", [True, False])
def test_torchtunes_loss_saves_the_log_probabilities_of_every_part(trains):
    tape = Tape(1e12, 1e12)
    leaf = Leaf() if trains else None
    weight = Tensor(tape, WORDS, HIDDEN, BFLOAT16, None, leaf)
    hidden = ops.linear(tape.new(TOKENS, HIDDEN, BFLOAT16, "input"), square(tape))
    labels = tape.new(TOKENS, 1, INT64, "labels")
    loss = losses.saved_parts(hidden, labels, lambda part: ops.linear(part, weight))
    del hidden
    assert isinstance(loss.node, Node)
    loss.node.accumulate(tape.new(1, 1, FLOAT32, "gradient"))
    tape.backward()
    peak = max(accumulate(nbytes for nbytes, _ in tape.log))
    assert peak == pytest.approx(_peak_in_torch(trains), rel=0.004)
    assert peak > 4 * TOKENS * WORDS


def square(tape: Tape) -> Tensor:
    return Tensor(tape, HIDDEN, HIDDEN, BFLOAT16, None, Leaf())
