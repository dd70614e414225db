"""The replay against the tables of traced steps: peaks within 0.02 %, phases within 0.5 %."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest
import reference_steps
from recorded import SCRATCH, as_traced, highest, record_of
from reference_steps import REFERENCE

import vram_widget as vw
from vram_widget.step.record import Record
from vram_widget.step.timeline import COMPONENTS

#: How far the peak of a run may lie from the traced one, and the peak of one phase.
PEAK, PHASE = 0.0002, 0.005
PHASES = ("forward", "loss", "backward", "optimizer_step")


class Gap(NamedTuple):
    """Rows that are not followed so closely: by how much in what, and why."""

    rows: str
    bounds: dict[str, float]
    cause: str


LLAMAS = r"^(llama-3.2-1b|mistral-7b|qwen2.5-0.5b|granite-3.3-2b)"

#: The first that names a row counts.
GAPS = (
    Gap(
        r"^mistral-7b prepared qlora( bf16 adapters)?( checkpointing)?$",
        {"forward": 0.019},
        "not found: 8 to 16 MiB more amid a forward whose 4-bit weights are sharded",
    ),
    Gap(
        r"^mistral-7b prepared qlora in integers( checkpointing)?$",
        {"forward": 0.022},
        "not found: 22 to 30 MiB less amid a forward whose 4-bit weights are not",
    ),
    Gap(
        r"^(gpt-oss-20b|olmoe-1b-7b|qwen3-30b-a3b) lora-autocast parameters$",
        {"peak": 0.006, "forward": 0.008, "loss": 0.0063, "backward": 0.006},
        "not found: 8 to 40 MiB more of a layer's experts are here, where some of them are adapted",
    ),
    Gap(
        r"^(gpt-oss-20b|olmoe-1b-7b|qwen3-30b-a3b) lora(-autocast parameters| axolotl .*) checkpoi",
        {"forward": 0.0132},
        "a checkpointed layer's forward makes a little more there",
    ),
    Gap(
        r"^mistral-7b fp32-autocast trains MLPs checkpointing$",
        {"peak": 0.00082},
        "not found: an activation of 8 MiB more, where attention is frozen",
    ),
    Gap(
        r"^gemma-4-e2b bf16 1536 tokens flash$",
        {"peak": 0.016, "forward": 0.023, "loss": 0.016, "backward": 0.016},
        "flash attention has no heads of 512, and refuses them",
    ),
    Gap(
        r"^gemma-4-e2b lora(-autocast)?( checkpointing)?$",
        {"peak": 0.0027},
        "all-linear adapts per_layer_model_projection too, which stands beside the layers",
    ),
    Gap(
        r"^mistral-7b osft 0.25 checkpointing$",
        {"peak": 0.002},
        "at the peak a few factors' gradients are there that come a moment later here: 20 MiB",
    ),
    Gap(
        r"^mistral-7b osft (0\.25|0\.5|0\.02|0\.02 checkpointing|fp32)$",
        {"peak": 0.00081},
        "at the peak one product of k_proj's or v_proj's halves, of 4 or 8 MiB, is there or not",
    ),
    Gap(
        r"^mistral-7b osft fsdp ([28] GPUs checkpointing|8 GPUs)$",
        {"peak": 0.0006},
        "the same product, of 2 MiB",
    ),
    Gap(
        rf"{LLAMAS} q?lora(-bf16)?-dropout(-plain)?( checkpointing)?$",
        {"forward": 0.0098},
        "what dropout leaves goes once lora_A has run, where no graph holds it: here it stays",
    ),
    Gap(
        r"^(mixtral-8x7b|gemma-3-1b) lora-autocast re-entrant eager$|quantised experts re-entrant$",
        {"forward": 0.0227},
        "without a graph some tensors stay longer: of the experts, of scores in float32",
    ),
    Gap(
        r"^gpt-oss-20b qlora quantised experts( single)?$",
        {"forward": 0.0064},
        "not found: 45 MiB more amid the experts",
    ),
    Gap(
        r"^mistral-7b-v0.1 bf16 windowed( flash)?$",
        {"forward": 0.0063},
        "forward peaks in the last norm, where one hidden state more is there",
    ),
    Gap(
        r"^(gpt-oss-20b|qwen3-30b-a3b|olmoe-1b-7b|deepseek-v2-lite) lora-autocast checkpointing$",
        {"forward": 0.011},
        "not found: 22 to 61 MiB amid the experts of a forward without a graph",
    ),
    Gap(
        r"^falcon-40b fp32-autocast eager checkpointing$",
        {"forward": 0.017},
        "autocast's copy of the MLP's transposed weight, of 512 MiB, stays to the layer's end",
    ),
    Gap(
        r"^falcon-7b lora-autocast checkpointing$",
        {"forward": 0.0083},
        "without a graph one of the queries' copies in float32 goes sooner, of 18 MiB",
    ),
    Gap(
        r"^falcon-7b (bf16|lora|lora-autocast) 4096 tokens$",
        {"peak": 0.0116, "forward": 0.0164, "loss": 0.0215, "backward": 0.0116},
        "of one row alone SDPA does not copy the one head of keys and values for each of queries",
    ),
    Gap(
        r"^gemma-2-2b qlora checkpointing$",
        {"forward": 0.0061},
        "without a graph one tensor of scores in float32 stays longer, of 16 MiB",
    ),
    Gap(
        r"^mixtral-8x7b zero3$",
        {"peak": 0.0039, "forward": 0.0104},
        "which weights are fetched ahead of a layer that is larger than what may live",
    ),
    Gap(
        r"^llama-3.2-1b zero3 sizes$",
        {"peak": 0.0182, "loss": 0.0101, "backward": 0.0182},
        "what was released is fetched again layer by layer, and not up to the limit throughout",
    ),
    Gap(
        r"^llama-3.2-1b (q?lora( checkpointing)?) zero3$",
        {"peak": 0.0034, "forward": 0.0052},
        "adapters stay gathered on their own, and queries, keys and values of the first layer, "
        "whose input needs no gradient, go after forward",
    ),
)


def rows(table: str) -> list[dict[str, str]]:
    with (REFERENCE / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


TRACED = [*rows("grid"), *rows("zero")]


class Replay(NamedTuple):
    """A row's estimate, and its record as the trace sees it."""

    est: vw.MemoryEstimate
    record: Record


Replayed = Callable[[dict[str, str]], Replay]


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    """Return a function that replays a row of the tables, once for all tests."""
    found: dict[str, Replay] = {}

    def replay(row: dict[str, str]) -> Replay:
        if row["id"] not in found:
            folder = tmp_path_factory.mktemp("model")
            shutil.copy(REFERENCE / "configs" / row["config"], folder / "config.json")
            est = vw.estimate(folder, **json.loads(row["choices"]), gpu="H100")
            found[row["id"]] = Replay(est, as_traced(record_of(est)))
        return found[row["id"]]

    return replay


def errors(row: dict[str, str], record: Record) -> dict[str, float]:
    """Return by what share the peak lies beside the traced one, and that of each phase."""
    found = highest(record)
    traced = {phase: int(row[f"{phase}_peak"]) for phase in PHASES}
    # Where the optimizer steps in backward there is no phase of its own to trace.
    off = {phase: found[phase] / peak - 1 for phase, peak in traced.items() if peak}
    return {"peak": record.peak / int(row["allocated"]) - 1, **off}


def bounds(name: str) -> dict[str, float]:
    plain = {"peak": PEAK, **dict.fromkeys(PHASES, PHASE)}
    named = next((gap.bounds for gap in GAPS if re.search(gap.rows, name)), {})
    return plain | named


@pytest.mark.parametrize("row", TRACED, ids=lambda row: row["id"])
def test_a_traced_step_is_replayed(row, replayed):
    record = replayed(row).record
    allowed = bounds(row["id"])
    off = {what: error for what, error in errors(row, record).items() if abs(error) > allowed[what]}
    assert not off


@pytest.mark.parametrize("gap", GAPS, ids=lambda gap: gap.rows)
def test_a_gap_is_there_and_no_wider_than_its_bound(gap, replayed):
    named = [
        row
        for row in TRACED
        if next((each for each in GAPS if re.search(each.rows, row["id"])), None) is gap
    ]
    found = [errors(row, replayed(row).record) for row in named]
    for what, bound in gap.bounds.items():
        worst = max(abs(error.get(what, 0.0)) for error in found)
        assert worst > (PEAK if what == "peak" else PHASE), "closed: take it out"
        assert bound <= 1.1 * worst, f"narrower than it was: {worst:.2g}"


def test_most_traced_steps_are_replayed_more_closely_still(replayed):
    found = [abs(errors(row, replayed(row).record)["peak"]) for row in rows("grid")]
    assert median(found) < 2e-6
    assert sum(error < 1e-4 for error in found) > 0.95 * len(found)


#: Both steps of SGD, which keeps no states, peak alike: the trace names the first, the replay the
#: second.
ELSEWHERE = ("llama-3.2-1b bf16 sgd", "llama-3.2-1b lora sgd")


@pytest.mark.parametrize("row", TRACED, ids=lambda row: row["id"])
def test_the_peak_is_where_it_was_traced(row, replayed):
    record = replayed(row).record
    same = (record.peak_phase, record.peak_step) == (row["peak_phase"], int(row["peak_step"]))
    assert same != (row["id"] in ELSEWHERE)


#: Rows whose peak is made up otherwise than the trace has it, and why.
MADE_UP = {
    r"^llama-3.2-1b bf16 adafactor$": "the trace takes one of the step's temporaries for a buffer",
    r"^(deepseek-v3 lora|mixtral-8x7b (q?lora|lora-autocast))|"
    r"^(olmoe-1b-7b|qwen3-30b-a3b|deepseek-v2-lite|glm-4.5-air) lora-autocast checkpointing$": "the"
    " trace takes the gradients of experts, which their adapters need, for activations",
    r"^(gpt-oss-20b|olmoe-1b-7b) lora-autocast parameters checkpointing$|"
    r"^qwen3-30b-a3b lora( axolotl .* checkpointing|-autocast parameters)$": "the same",
    r"^mistral-7b (prepared )?flat |prepared bf16 hybrid|"
    r"bf16 hsdp 8 GPUs in bf16$|fp32-autocast hsdp 8 GPUs( in bf16| checkpointing)?$": "the trace "
    "counts what gradients are joined in to the gradients",
    r"^llama-3.2-1b zero1 accumulates$": "the trace takes gradients of earlier passes for "
    "activations",
    r"^gemma-4-e2b bf16 1536 tokens flash$|^falcon-7b .* 4096 tokens$|^llama-3.2-1b zero3 sizes$|"
    r"^llama-3.2-1b lora( checkpointing)? zero3$": "named in GAPS",
    r"^llama-3.2-1b qlora zero[123]$|^mistral-7b lora zero3$": "the trace takes frozen "
    "weights that DeepSpeed makes anew for buffers",
}


@pytest.mark.parametrize("row", TRACED, ids=lambda row: row["id"])
def test_the_peak_is_made_up_of_what_was_traced(row, replayed):
    record, traced = replayed(row).record, json.loads(row["components"])
    levels = dict(zip(COMPONENTS, record.at(record.peak_moment), strict=True))
    off = [abs(levels[name] - traced.get(name, 0)) for name in COMPONENTS]
    alike = max(off) <= PHASE * record.peak
    assert alike != any(re.search(name, row["id"]) for name in MADE_UP)


@pytest.mark.parametrize("row", TRACED, ids=lambda row: row["id"])
def test_what_is_loaded_and_trained_is_what_was_traced(row, replayed):
    est = replayed(row).est
    line = est.timeline
    before = line.step.index(1)
    loaded = line.total[before] - line.bytes["overhead"][before]
    assert loaded == pytest.approx(int(row["loaded"]), rel=0.0001)
    if not row["id"].startswith("gemma-4-e2b lora"):  # named in GAPS
        assert est.num_trainable == int(row["num_trainable"])
    # PyTorch counts QLoRA's packed bytes, and OSFT's factors beside what they stand for.
    method = est.config.training_method
    if method not in ("qlora", "osft"):
        adapters = int(row["num_trainable"]) if method == "lora" else 0
        assert est.num_parameters == int(row["num_parameters"]) - adapters


def estimated(row: reference_steps.Row, folder: Path) -> vw.MemoryEstimate:
    (folder / "config.json").write_text(json.dumps(reference_steps.model_config(row)))
    return vw.estimate(folder, **reference_steps.choices(row), gpu="H100")


@pytest.mark.parametrize("row", reference_steps.rows(), ids=lambda row: row["id"])
def test_a_reference_step_is_replayed(row, tmp_path):
    est = estimated(row, tmp_path)
    record = as_traced(record_of(est), without=SCRATCH)
    assert record.peak == pytest.approx(int(row["peak_bytes"]), rel=PEAK)
    assert record.peak_phase in reference_steps.PHASES[row["peak_phase"]]
    assert record.peak_step == 2
    found = highest(record)
    forward = max(found["forward"], found["loss"])
    assert forward == pytest.approx(int(row["fwd_peak_bytes"]), rel=PHASE)
    assert found["backward"] == pytest.approx(int(row["bwd_peak_bytes"]), rel=PHASE)
    assert found["optimizer_step"] == pytest.approx(int(row["opt_peak_bytes"]), rel=PHASE)


@pytest.mark.parametrize("row", reference_steps.rows(), ids=lambda row: row["id"])
def test_the_states_of_a_reference_step_are_exact(row, tmp_path):
    est = estimated(row, tmp_path)
    line = est.timeline
    assert line.bytes["parameters"][line.step.index(1)] == int(row["params_bytes"])
    # Fused AdamW's step counts are 512 bytes each to the allocator, and 4 to the table.
    assert max(line.bytes["optimizer"]) >= int(row["optimizer_bytes"])
    assert est.num_trainable == int(row["num_trainable"])
