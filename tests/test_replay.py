"""The replay against steps that PyTorch's own code took."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import reference_steps
from reference_steps import REFERENCE

import vram_widget as vw
from vram_widget.step.replay import replay
from vram_widget.step.run import Run
from vram_widget.step.timeline import COMPONENTS


@pytest.fixture
def folder(tmp_path: Path):
    """Return a function that writes a config.json and names its folder."""

    def write(config: dict[str, Any]) -> str:
        (tmp_path / "config.json").write_text(json.dumps(config))
        return str(tmp_path)

    return write


@pytest.mark.parametrize("row", reference_steps.rows(), ids=lambda row: row["id"])
def test_a_reference_step_is_replayed_to_the_allocation(row, folder):
    model_path = folder(reference_steps.model_config(row))
    est = vw.estimate(model_path, **reference_steps.choices(row), gpu="H100")
    assert est.allocated == pytest.approx(int(row["peak_bytes"]), rel=0.0005)
    assert est.peak_phase in reference_steps.PHASES[row["peak_phase"]]
    assert est.peak_step == 2


@pytest.mark.parametrize("row", reference_steps.rows(), ids=lambda row: row["id"])
def test_the_states_of_a_reference_step_are_exact(row, folder):
    model_path = folder(reference_steps.model_config(row))
    est = vw.estimate(model_path, **reference_steps.choices(row), gpu="H100")
    after_loading = est.timeline.step.index(1)
    assert est.timeline.bytes["parameters"][after_loading] == int(row["params_bytes"])
    assert max(est.timeline.bytes["optimizer"]) >= int(row["optimizer_bytes"])
    assert est.num_trainable == int(row["num_trainable"])


def grid() -> list[dict[str, str]]:
    with (REFERENCE / "grid.csv").open(newline="") as file:
        return list(csv.DictReader(file))


#: Traced rows that the replay does not follow within 0.5 %: how far off they may be, and why.
GAPS = ((r"^gemma-4-e2b .* flash", 0.02, "flash attention has no heads of 512, and refuses them"),)
#: Rows divided among GPUs, which are followed more closely.
SHARDED = re.compile(r" (fsdp|hsdp) \d+ GPUs")


def bound(row: dict[str, str]) -> float:
    if SHARDED.search(row["id"]):
        return 0.002
    return next((limit for name, limit, _ in GAPS if re.search(name, row["id"])), 0.005)


def replayed(row: dict[str, str], folder) -> vw.MemoryEstimate:
    config = json.loads((REFERENCE / "configs" / row["config"]).read_text())
    return vw.estimate(folder(config), **json.loads(row["choices"]), gpu="H100")


@pytest.mark.parametrize("row", grid(), ids=lambda row: row["id"])
def test_a_traced_step_is_replayed(row, folder):
    est = replayed(row, folder)
    assert est.allocated == pytest.approx(int(row["allocated"]), rel=bound(row))
    if est.architecture.known:
        assert est.num_trainable == pytest.approx(int(row["num_trainable"]), rel=0.01)
        # PyTorch counts QLoRA's packed bytes, and OSFT's factors beside what they stand for.
        if est.config.training_method not in ("qlora", "osft"):
            assert est.num_parameters == int(row["num_parameters"]) - adapters(row)


@pytest.mark.parametrize("row", grid(), ids=lambda row: row["id"])
def test_a_traced_step_is_followed_phase_by_phase(row, folder):
    est = replayed(row, folder)
    sharded = SHARDED.search(row["id"])
    if sharded:
        assert (est.peak_phase, est.peak_step) == (row["peak_phase"], int(row["peak_step"]))
    line = est.timeline
    moments = zip(line.total, line.bytes["overhead"], line.step, line.phase, strict=True)
    highest: dict[str, int] = {}
    for total, overhead, step, phase in moments:
        if step == 2:
            highest[phase] = max(highest.get(phase, 0), total - overhead)
    for phase in ("forward", "loss", "backward", "optimizer_step"):
        traced = int(row[f"{phase}_peak"])
        if traced and phase in highest:
            assert highest[phase] == pytest.approx(traced, rel=0.005 if sharded else 0.025), phase


def divided_by_deepspeed() -> list[dict[str, str]]:
    with (REFERENCE / "zero.csv").open(newline="") as file:
        return list(csv.DictReader(file))


#: Rows divided by DeepSpeed that the replay does not follow within 0.5 %: how far off, and why.
ZERO_GAPS = (
    (r"^mixtral-8x7b ", 0.03, "experts larger than the bucket wait beside it amid a layer"),
    (r"^mistral-7b zero3", 0.055, "weights of the last layers go while theirs are reduced"),
)


@pytest.mark.parametrize("row", divided_by_deepspeed(), ids=lambda row: row["id"])
def test_a_step_divided_by_deepspeed_is_replayed(row, folder):
    est = replayed(row, folder)
    gap = next((limit for name, limit, _ in ZERO_GAPS if re.search(name, row["id"])), 0.005)
    assert est.allocated == pytest.approx(int(row["allocated"]), rel=gap)
    line = est.timeline
    moments = zip(line.total, line.bytes["overhead"], line.step, line.phase, strict=True)
    levels = [(phase, total - extra) for total, extra, step, phase in moments if step == 2]
    for phase in ("loss", "backward", "optimizer_step"):
        highest = max(level for at, level in levels if at == phase)
        assert highest == pytest.approx(int(row[f"{phase}_peak"]), rel=max(4 * gap, 0.015)), phase


def adapters(row: dict[str, str]) -> int:
    method = json.loads(row["choices"])["training_method"]
    return int(row["num_trainable"]) if method == "lora" else 0


def test_traced_steps_are_replayed_within_half_a_percent_at_the_median(folder):
    errors = [abs(replayed(row, folder).allocated / int(row["allocated"]) - 1) for row in grid()]
    assert median(errors) < 0.005


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
