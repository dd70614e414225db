"""What CUDA's kernels make for themselves, in the replay and in the trace."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from on_meta import transformers
from recorded import SCRATCH

import vram_widget as vw
from vram_widget.families import from_config
from vram_widget.gpu import lookup
from vram_widget.step import ops
from vram_widget.step.ops.products import embedding_sums
from vram_widget.step.record import Record
from vram_widget.step.replay import replay
from vram_widget.step.run import Run
from vram_widget.step.tape import BFLOAT16, FLOAT16, FLOAT32, Node, Tape

MODEL: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 5000,
    "hidden_size": 384,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 96,
    "tie_word_embeddings": False,
}
PLAIN: dict[str, Any] = {
    "training_method": "sft",
    "param_dtype": "bfloat16",
    "mixed_precision": "no",
    "micro_batch_size": 2,
    "max_seq_len": 200,
    "gradient_accumulation_steps": 1,
    "gradient_checkpointing": False,
    "attn_implementation": "sdpa",
    "padded": False,
}
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "flash, grouped heads": ({}, {}),
    "flash": ({"num_key_value_heads": 4}, {"attn_implementation": "flash_attention_2"}),
    "flash, wide heads": ({"head_dim": 160}, {"gradient_checkpointing": True}),
    "efficient": ({}, {"padded": True}),
    "efficient, narrow heads": ({"head_dim": 32}, {"padded": True}),
    "efficient, wide heads": ({"head_dim": 160}, {"padded": True}),
    "efficient, float32": ({"num_key_value_heads": 4}, {"param_dtype": "float32"}),
    "math": ({}, {"param_dtype": "float32"}),
    "eager": ({}, {"attn_implementation": "eager"}),
    "eager, float16": ({}, {"attn_implementation": "eager", "param_dtype": "float16"}),
    "eager, autocast": (
        {},
        {"attn_implementation": "eager", "param_dtype": "float32", "mixed_precision": "bf16"},
    ),
    "many tokens": ({}, {"max_seq_len": 1600}),
}


def made(record: Record) -> Counter[int]:
    """Return how often the second step makes scratch of a size."""
    sizes: Counter[int] = Counter()
    for step, segment in zip(record.steps, record.segments, strict=True):
        for nbytes, allocation in segment.events if step == 2 else ():
            if nbytes > 0 and allocation.what in SCRATCH:
                sizes[nbytes] += segment.count * (1 if segment.of_one else allocation.copies)
    return sizes


@pytest.mark.parametrize("row", ROWS)
def test_scratch_is_as_large_and_made_as_often_as_in_the_trace(row):
    transformers()
    model, choices = ROWS[row]
    config = vw.TrainingConfig("small", **{**PLAIN, **choices})
    traced = Counter(
        event.nbytes
        for event in vw.trace(config, {**MODEL, **model}).events
        if event.step == 2 and event.sign > 0 and event.storage.operator.endswith(" scratch")
    )
    architecture = from_config({**MODEL, **model})
    assert traced
    assert made(replay(Run.of(config, architecture, lookup("A100-80GB")))) == traced


@pytest.mark.parametrize(
    ("dtype", "bytes_a_score"),
    [(FLOAT16, 14), (BFLOAT16, 16), (FLOAT32, 16)],  # float16's was measured on a T4
)
def test_softmax_backward_holds_its_product_too(dtype, bytes_a_score):
    tape = Tape(1.0, 1.0)
    scores = tape.new(512, 512, dtype, "scores")
    scores.node = Node(tape, (), lambda grad: ())
    weights = ops.softmax(scores, FLOAT32)
    assert isinstance(weights.node, Node)
    weights.node.accumulate(tape.new(512, 512, FLOAT32, "gradient"))
    # all but the scores themselves and their copy, which others hold
    held = sum(n for n, a in tape.log if a.what in ("softmax", "gradient"))
    del weights
    start = len(tape.log)
    tape.backward(down_to=len(tape.nodes) - 1)
    level = highest = held
    for nbytes, _ in tape.log[start:]:
        level += nbytes
        highest = max(highest, level)
    assert highest == bytes_a_score * 512 * 512


def test_an_embedding_of_many_tokens_is_summed_by_tens_and_by_kinds():
    assert embedding_sums(3072, 32000) == 0
    assert embedding_sums(4096, 32000) == 409 + 4096
    assert embedding_sums(8192, 1000) == 819 + 1000
