"""The replay in time and in its parts; `test_traced` holds its peaks to traced steps."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from reference_steps import REFERENCE

import vram_widget as vw
from vram_widget.step.replay import replay
from vram_widget.step.run import Run
from vram_widget.step.timeline import COMPONENTS


def test_a_timeline_is_followed_phase_by_phase():
    reference = json.loads((REFERENCE / "timeline_granite_2b.json").read_text())
    est = vw.estimate(
        "ibm-granite/granite-3.3-2b-instruct",
        param_dtype="float32",
        mixed_precision="bf16",
        optim="adamw_torch_fused",
        micro_batch_size=4,
        max_seq_len=2048,
        gradient_checkpointing=True,
        attn_implementation="sdpa",
        gpu="L40S",
    )
    line = est.timeline
    allocated = [
        total - extra for total, extra in zip(line.total, line.bytes["overhead"], strict=True)
    ]
    assert est.allocated == pytest.approx(reference["peak_bytes"], rel=0.001)
    moments = list(zip(line.step, line.phase, strict=True))
    marks = dict(reference["marks"])
    for step in (1, 2):
        starts_backward = moments.index((step, "backward"))
        starts_step = moments.index((step, "optimizer_step"))
        assert allocated[starts_backward] == pytest.approx(marks[f"s{step}/fwd_end"], rel=0.001)
        assert allocated[starts_step] == pytest.approx(marks[f"s{step}/bwd_end"], rel=0.001)
    assert allocated[-1] == pytest.approx(marks["s2/zero_end"], rel=0.001)
    for step, phase, name in ((2, "backward", "s2/bwd"), (2, "optimizer_step", "s2/opt")):
        levels = [
            level
            for level, moment in zip(allocated, moments, strict=True)
            if moment == (step, phase)
        ]
        seen = [total for where, _, total, _ in reference["timeline"] if where == name]
        assert max(levels) == pytest.approx(max(seen), rel=0.01)


def test_components_and_the_tree_sum_to_the_estimate():
    for method in ("sft", "lora", "qlora", "osft"):
        est = vw.estimate("Qwen/Qwen2.5-7B", training_method=method, gpu="H100")
        low, expected, high = est
        assert low <= expected <= high
        assert set(est.components) == set(COMPONENTS)
        assert sum(est.components.values()) == expected
        assert max(est.timeline.total) == expected
        tree = est.explain()
        assert {branch.name: branch.bytes for branch in tree.children} == {
            name: nbytes for name, nbytes in est.components.items() if nbytes
        }
        for component in tree.children:
            for operator in component.children:
                assert sum(leaf.bytes for leaf in operator.children) == operator.bytes


#: Two kinds of layers in turn; the same with gathered weights; and with a gradient for all of them.
PATTERNS: list[dict[str, Any]] = [
    {"model_path": "ibm-granite/granite-4.0-h-350m", "training_method": "sft"},
    {
        "model_path": "google/gemma-3-1b-it",
        "training_method": "lora",
        "trainer": "trl",
        "num_gpus": 8,
        "sharding": "fsdp",
        "gradient_accumulation_steps": 2,
    },
    {"model_path": "google/gemma-4-E2B", "training_method": "sft", "num_gpus": 8},
]


@pytest.mark.parametrize("choices", PATTERNS, ids=lambda choices: choices["model_path"])
def test_layers_that_repeat_stand_for_all(choices, monkeypatch):
    est = vw.estimate(**choices, gpu="H100")
    one_by_one = dataclasses.replace(est.architecture)  # which has looked for no patterns yet
    monkeypatch.setattr(
        "vram_widget.step.architecture._patterns",
        lambda kinds: [(place, 1, 1) for place in range(len(kinds))],
    )
    record = replay(Run.of(est.config, one_by_one, est.gpu))
    assert len(record.segments) > 3 * one_by_one.num_hidden_layers
    assert (est.allocated, est.peak_phase) == (record.peak, record.peak_phase)
    levels = dict(zip(COMPONENTS, record.at(record.peak_moment), strict=True))
    assert {**levels, "overhead": est.components["overhead"]} == est.components


@pytest.mark.parametrize(
    "choices",
    [{"model_path": "ibm-granite/granite-3.3-2b-instruct"}, *PATTERNS],
    ids=lambda choices: choices["model_path"],
)
def test_every_moment_of_the_timeline_is_explained(choices):
    est = vw.estimate(**choices, gpu="H100")
    for index, total in enumerate(est.timeline.total):
        tree = est.explain(index)
        assert tree.bytes == total
        assert all(
            leaf.count > 0 for c in tree.children for op in c.children for leaf in op.children
        )


@pytest.mark.parametrize(("card", "nbytes"), [("T4", 8519680), ("H100", 32 * 2**20)])
def test_each_of_two_threads_makes_a_workspace_and_keeps_it(card, nbytes):
    est = vw.estimate("HuggingFaceTB/SmolLM2-135M", gradient_accumulation_steps=2, gpu=card)
    record = replay(Run.of(est.config, est.architecture, est.gpu))
    made = [
        (step, segment.phase, change)
        for step, segment in zip(record.steps, record.segments, strict=True)
        for change, allocation in segment.events
        if allocation.operator == "cuBLAS"
    ]
    assert made == [(1, "forward", nbytes), (1, "backward", nbytes)]
