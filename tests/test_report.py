"""What is said of an estimate: to the front end, in words and in print."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from example import EXAMPLE, example

from vram_widget.config import TrainingConfig
from vram_widget.estimate.estimate import MemoryEstimate, estimate
from vram_widget.show import text
from vram_widget.show.axis import positions, spans
from vram_widget.show.palette import PALETTE, PHASE_LABELS, VERDICT_INK
from vram_widget.show.plot import timeline_figure
from vram_widget.step.timeline import COMPONENTS, PHASES, Timeline
from vram_widget.units import GiB, gib
from vram_widget.widget.report import report

GRANITE = "ibm-granite/granite-3.3-2b-instruct"
CASES = [
    {"model_path": GRANITE, "gpu": "L40S"},
    {"model_path": GRANITE, "gpu": "H100", "num_gpus": 8},
    {"model_path": "meta-llama/Llama-3.1-8B", "training_method": "lora", "gpu": "A100-80GB"},
    {"model_path": "HuggingFaceTB/SmolLM2-135M", "gpu": "H100"},
    {"model_path": GRANITE, "gpu": "L40S", "memory_model": "training_hub"},
]


@pytest.fixture(params=CASES, ids=lambda case: " ".join(map(str, case.values())))
def estimated(request: pytest.FixtureRequest) -> MemoryEstimate:
    return estimate(**request.param)


def test_the_report_is_the_estimate(estimated: MemoryEstimate) -> None:
    shown = json.loads(json.dumps(report(estimated)))
    assert sum(part["bytes"] for part in shown["components"]) == estimated.expected
    assert (shown["low"], shown["expected"], shown["high"]) == tuple(estimated)
    assert shown["capacity"] == estimated.gpu.memory
    assert shown["verdict"]["level"] == estimated.verdict
    assert {name for name, levels in shown["timeline"]["bytes"].items()} == {
        name for name, levels in estimated.timeline.bytes.items() if any(levels)
    }


def test_the_peak_of_the_timeline_is_the_peak_that_is_named(estimated: MemoryEstimate) -> None:
    shown = report(estimated)
    index = shown["peak"]["index"]
    levels = [column[index] for column in shown["timeline"]["bytes"].values()]
    assert sum(levels) == pytest.approx(estimated.expected, rel=0.01)
    span = next(s for s in shown["timeline"]["spans"] if s["first"] <= index <= s["last"])
    assert (span["phase"], span["step"]) == (estimated.peak_phase, estimated.peak_step)


def test_the_axis_covers_every_moment_in_order(estimated: MemoryEstimate) -> None:
    places = positions(estimated.timeline)
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0.0, pytest.approx(1.0))
    runs = spans(estimated.timeline)
    assert [i for run in runs for i in range(run.first, run.last + 1)] == list(range(len(places)))


def test_a_short_phase_is_still_wide_enough_to_see() -> None:
    line = Timeline(
        [0.0, 100.0, 101.0, 101.001, 200.0],
        [0, 1, 1, 1, 1],
        ["load", "forward", "loss", "backward", "backward"],
    )
    places = positions(line)
    assert places[3] - places[2] > 0.025  # the loss: a hundred-thousandth of the time
    assert places[1] < 0.1  # loading: half of the time


def test_every_component_and_phase_has_a_name_and_a_colour() -> None:
    assert tuple(PALETTE) == COMPONENTS
    assert tuple(PHASE_LABELS) == PHASES
    for paint in PALETTE.values():
        assert contrast(paint.color, paint.ink) >= 4.5, paint
    for color in VERDICT_INK.values():
        assert contrast(color, "#ffffff") >= 4.5


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG 2 defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    shares = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_verdict_in_words() -> None:
    found: Any = SimpleNamespace(
        verdict="fits", low=25.4 * GiB, expected=27.9 * GiB, high=33.0 * GiB, capacity=48 * GiB
    )
    assert text.verdict(found) == "Fits: 27.9 of 48.0 GiB on each GPU"
    assert text.band(found) == "25.4–33.0"


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({}, "full fine-tuning"),
        ({"training_method": "lora", "lora_r": 8}, "LoRA, rank 8"),
        ({"training_method": "qlora"}, "QLoRA, rank 16"),
        ({"training_method": "osft", "unfreeze_rank_ratio": 0.3}, "OSFT, ratio 0.3"),
    ],
)
def test_the_method_in_words(choices: dict[str, Any], said: str) -> None:
    assert text.method(TrainingConfig(**choices)) == said


def test_the_batch_in_words_counts_every_gpu_and_pass() -> None:
    config = TrainingConfig(
        micro_batch_size=4, max_seq_len=2048, gradient_accumulation_steps=8, num_gpus=2
    )
    assert text.batch(config) == "8,192 tokens a pass · effective batch 64"
    packed = TrainingConfig(max_tokens_per_gpu=16_384, max_seq_len=4096)
    assert text.batch(packed) == "16,384 tokens a pass · effective batch 4"


def test_the_summary_lists_every_component(estimated: MemoryEstimate) -> None:
    summary = text.summary(estimated)
    assert text.verdict(estimated) in summary
    for name, nbytes in estimated.components.items():
        line = next(line for line in summary.splitlines() if PALETTE[name].label in line)
        assert f"{gib(nbytes)} GiB" in line


def test_the_print_has_the_areas_the_band_and_the_words_of_the_screen(
    estimated: MemoryEstimate,
) -> None:
    figure = timeline_figure(estimated)
    (axes,) = figure.axes
    areas = [area for area in axes.collections if len(area.get_facecolor())]
    drawn = {tuple(round(255 * c) for c in area.get_facecolor()[0][:3]) for area in areas}
    used = [PALETTE[n].color for n, levels in estimated.timeline.bytes.items() if any(levels)]
    assert {tuple(int(color[i : i + 2], 16) for i in (1, 3, 5)) for color in used} <= drawn
    top = max(path.vertices[:, 1].max() for area in areas for path in area.get_paths())
    assert top >= max(estimated.timeline.total) / GiB * 0.999
    said = [each.get_text() for each in (*axes.texts, *figure.texts)]
    assert text.peak(estimated) in said
    assert any(text.verdict(estimated) in each for each in said)


def test_the_print_shows_itself_in_a_notebook() -> None:
    figure = timeline_figure(estimate(GRANITE, gpu="L40S"))
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_both_sides_agree_on_what_is_sent() -> None:
    """The TypeScript tests read the same example, typed as messages.ts says."""
    now, read = json.loads(json.dumps(example())), json.loads(EXAMPLE.read_text("utf-8"))
    for sent in now.keys() - {"values"}:
        assert shape(now[sent]) == shape(read[sent]), "run python tests/example.py"
    assert now["values"].keys() == read["values"].keys()


def shape(value: Any) -> Any:
    """Return the names and types of a JSON value, without its amounts and its lengths."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(each), sort_keys=True) for each in value})
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def test_one_token_has_a_width_and_no_rows() -> None:
    found = estimate(
        "HuggingFaceTB/SmolLM2-135M",
        max_seq_len=1,
        optimizer_in_backward=True,
        loss_kernel="liger",
    )
    assert "31 checkpointed inputs, 576 float32" in found.notes["activations"]
