"""PyTorch's own step beside the widget's estimate: in words, as a line, in its own process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded import as_traced, record_of

from vram_widget import estimate
from vram_widget.estimate.estimate import MemoryEstimate
from vram_widget.show.axis import positions, spans
from vram_widget.step.timeline import Timeline
from vram_widget.trace.process import TOTAL, Traced, TraceProcess
from vram_widget.units import GiB
from vram_widget.widget import VRAMWidget
from vram_widget.widget.verification import verification

TINY = "HuggingFaceTB/SmolLM2-135M"
SMALL = {"max_seq_len": 256, "gpu": "L40S"}


def traced(levels: list[int]) -> Traced:
    """A trace of one step, of so many bytes in its phases."""
    phases = ["load", "forward", "loss", "backward", "optimizer_step"] * 2
    steps = [0, *[1] * 4, 0, *[2] * 4]
    kept = [i for i in range(10) if i != 5]
    line = Timeline(
        [float(i) for i in range(9)],
        [steps[i] for i in kept],
        [phases[i] for i in kept],
        {TOTAL: levels},
    )
    return Traced(timeline=line)


@pytest.fixture
def shown() -> MemoryEstimate:
    return estimate(TINY, **SMALL)


@pytest.mark.parametrize(
    ("share", "said"),
    [(1.0, "within 0.1 % of"), (1.1, "10.0 % above"), (0.95, "5.0 % below")],
)
def test_the_difference_is_said_in_words(shown: MemoryEstimate, share: float, said: str) -> None:
    seen = as_traced(record_of(shown)).peak
    peak = round(seen * share)
    reported = verification(traced([0, *[peak // 2] * 7, peak]), shown)
    assert reported["state"] == "done"
    assert reported["words"] == (
        f"PyTorch's own step peaks at {peak / GiB:.2f} GiB, {said} this estimate "
        f"({seen / GiB:.2f} GiB without overhead and cuBLAS)."
    )


def test_the_line_lies_phase_by_phase_on_the_axis_of_the_estimate(shown: MemoryEstimate) -> None:
    levels = list(range(1, 10))
    line = verification(traced(levels), shown)["line"]
    places = positions(shown.timeline)
    begins = [places[span.first] for span in spans(shown.timeline) if span.step]
    assert line["at"] == pytest.approx(begins, abs=1e-5)
    assert line["total"] == levels[1:]


def test_choices_that_a_trace_cannot_follow_are_left_out_of_the_comparison() -> None:
    config = {"training_method": "lora", "loss_kernel": "chunked", "offload_activations": False}
    shown = estimate(TINY, **config, **SMALL)
    plain = estimate(TINY, **{**config, "loss_kernel": "eager"}, **SMALL)
    reported = verification(traced([0, *[as_traced(record_of(plain)).peak] * 8]), shown)
    assert "within 0.1 % of the estimate for that" in reported["words"]
    assert "loss_kernel='chunked' is traced as transformers' own loss." in reported["words"]
    assert reported["line"] is None


def test_a_formula_has_no_course_to_lay_a_line_over() -> None:
    shown = estimate(TINY, memory_model="rule_of_thumb", **SMALL)
    assert verification(traced(list(range(9))), shown)["line"] is None


def test_an_error_is_short_enough_to_read(shown: MemoryEstimate) -> None:
    reported = verification(Traced(error="no " * 1000), shown)
    assert reported["state"] == "failed"
    assert len(reported["words"]) <= 300


def ask(widget: VRAMWidget, **request: Any) -> None:
    """Send what the front end sends when it asks for something."""
    widget._handle_custom_msg(request, [])


class FakeTrace:
    """A trace whose course the test sets."""

    def __init__(self, config: Any, model_config: Any, tell: Callable[[Traced], None]) -> None:
        self.tell = tell
        self.started = self.cancelled = False
        FakeTrace.last = self

    last: FakeTrace

    def start(self) -> None:
        self.started = True

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeTrace]:
    monkeypatch.setattr("vram_widget.widget.verification.TraceProcess", FakeTrace)
    return FakeTrace


def test_a_result_belongs_to_the_configuration_that_was_traced(fake: type[FakeTrace]) -> None:
    widget = VRAMWidget(TINY, **SMALL)
    ask(widget, type="verify")
    assert widget.verification["state"] == "running"
    fake.last.tell(traced([0, *[widget.estimate.allocated] * 8]))
    assert (widget.verification["state"], widget.verification["current"]) == ("done", True)
    widget.micro_batch_size = 8
    assert widget.verification["current"] is False
    widget.undo()
    assert widget.verification["current"] is True
    json.dumps(widget.verification)


def test_a_result_that_comes_after_a_change_is_of_an_earlier_configuration(
    fake: type[FakeTrace],
) -> None:
    widget = VRAMWidget(TINY, **SMALL)
    ask(widget, type="verify")
    widget.micro_batch_size = 8
    fake.last.tell(traced([1] * 9))
    assert (widget.verification["state"], widget.verification["current"]) == ("done", False)
    ask(widget, type="verify")
    assert widget.verification["current"] is True


def test_a_trace_can_be_stopped(fake: type[FakeTrace]) -> None:
    widget = VRAMWidget(TINY, **SMALL)
    ask(widget, type="stop")
    ask(widget, type="verify")
    first = fake.last
    ask(widget, type="stop")
    assert first.cancelled
    assert widget.verification is None
    first.tell(traced([1] * 9))
    assert widget.verification is None
    ask(widget, type="verify")
    widget.close()
    assert fake.last.cancelled


def test_a_process_of_its_own_tells_its_stages_and_its_errors() -> None:
    pytest.importorskip("torch")
    found = estimate(TINY, **SMALL)
    reported: list[Traced] = []
    run = TraceProcess(
        found.config, {**found.architecture.config, "model_type": "no"}, reported.append
    )
    run.start()
    run.wait(120)
    assert [bool(each.stage) for each in reported] == [True, True, False]
    assert "model_type" in reported[-1].error or "cannot build" in reported[-1].error


def test_nothing_is_reported_of_a_trace_that_was_cancelled() -> None:
    found = estimate(TINY, **SMALL)
    reported: list[Traced] = []
    run = TraceProcess(found.config, found.architecture.config, reported.append)
    run.start()
    run.cancel()
    run.wait(30)
    assert not [each for each in reported if not each.stage]


def test_the_button_and_python_find_the_same(tmp_path: Path) -> None:
    for package in ("torch", "transformers", "peft"):
        pytest.importorskip(package)
    config = {"model_type": "llama", "hidden_size": 512, "intermediate_size": 1024}
    config |= {"num_hidden_layers": 2, "num_attention_heads": 8, "vocab_size": 32_000}
    (tmp_path / "config.json").write_text(json.dumps(config))
    widget = VRAMWidget(str(tmp_path), training_method="sft", **SMALL)

    async def pressed() -> dict[str, Any]:
        ask(widget, type="verify")
        while widget.verification["state"] == "running":
            await asyncio.sleep(0.1)
        return dict(widget.verification)

    beside = asyncio.run(asyncio.wait_for(pressed(), 240))
    assert beside["state"] == "done", beside["words"]
    found = widget.verify()
    assert widget.verification == beside
    assert "within 0.1 % of" in beside["words"]
    assert max(beside["line"]["total"]) == found.allocated
