"""The other readings of the chart, and the configuration that is pinned beside."""

from __future__ import annotations

import asyncio
import importlib
import json
from typing import Any

import pytest

import vram_widget as vw
from vram_widget.widget.readings import ALONG, Reader, values

GRANITE = "ibm-granite/granite-3.3-2b-instruct"


def ask(widget: vw.VRAMWidget, **request: Any) -> None:
    """Say to the widget what a front end says."""
    widget._handle_custom_msg(request, [])


@pytest.fixture
def widget() -> vw.VRAMWidget:
    return vw.VRAMWidget(GRANITE, training_method="lora", gpu="L40S")


# -- readings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALONG)
def test_every_point_is_the_estimate_there(widget: vw.VRAMWidget, name: str) -> None:
    ask(widget, type="read", reading=name)
    shown = json.loads(json.dumps(widget.readings[name]))
    assert shown["revision"] == widget.report["revision"]
    config = vw.TrainingConfig(GRANITE, training_method="lora", gpu="L40S")
    for index, value in enumerate(shown["values"]):
        there = vw.estimate(config.replace(**{shown["field"]: value}))
        band = shown["low"][index], shown["expected"][index], shown["high"][index]
        assert band == tuple(there)
        assert shown["verdicts"][index] == there.verdict
        assert {name: levels[index] for name, levels in shown["bytes"].items()} == there.components


def test_the_present_value_and_the_largest_that_fits_are_among_the_points(
    widget: vw.VRAMWidget,
) -> None:
    widget.max_seq_len = 3000
    ask(widget, type="read", reading="max_seq_len")
    shown = widget.readings["max_seq_len"]
    most = vw.largest(widget.config, "max_seq_len")
    assert shown["limit"]["changes"] == {"max_seq_len": most}
    assert {3000, most} <= set(shown["values"])
    assert shown["values"] == sorted(set(shown["values"]))
    assert shown["verdicts"][shown["values"].index(most)] == "fits"
    assert f"{most:,}" in shown["limit"]["text"]


def test_where_nothing_fits_it_says_by_how_much() -> None:
    widget = vw.VRAMWidget("meta-llama/Llama-3.1-8B", gpu="RTX 4090")
    ask(widget, type="read", reading="micro_batch_size")
    shown = widget.readings["micro_batch_size"]
    assert shown["limit"]["changes"] == {}
    assert shown["limit"]["text"].startswith("Does not fit even at 1: ")
    assert set(shown["verdicts"]) == {"does_not_fit"}


def test_a_packed_micro_batch_is_read_by_what_sets_it(widget: vw.VRAMWidget) -> None:
    widget.max_tokens_per_gpu = 8192
    ask(widget, type="read", reading="micro_batch_size")
    shown = widget.readings["micro_batch_size"]
    assert shown["field"] == "max_tokens_per_gpu"
    assert 8192 in shown["values"]


def test_a_method_that_the_trainer_cannot_run_is_there_with_the_reason() -> None:
    widget = vw.VRAMWidget(GRANITE, trainer="trl", gpu="L40S")
    ask(widget, type="read", reading="training_method")
    shown = widget.readings["training_method"]
    assert shown["values"] == ["sft", "lora", "qlora"]
    ((name, why),) = shown["refused"]
    assert name == "OSFT"
    assert "TRL cannot run osft" in why


def test_a_length_never_goes_beyond_what_the_model_reads() -> None:
    assert values("max_seq_len", 4096)[-1] == 4096
    assert values("max_seq_len")[-1] == 131072
    assert values("max_seq_len", 100) == [256, 384, 512]


def test_several_views_ask_and_one_answer_is_made(widget: vw.VRAMWidget) -> None:
    seen: list[object] = []
    widget.observe(seen.append, "readings")
    for _ in range(3):
        ask(widget, type="read", reading="training_method")
    assert len(seen) == 1


def test_an_unknown_reading_is_no_harm(widget: vw.VRAMWidget) -> None:
    ask(widget, type="read", reading="<img src=x>")
    assert widget.readings == {}


def test_a_change_is_answered_before_a_reading_that_is_under_way() -> None:
    reported: list[str] = []
    config = vw.TrainingConfig(GRANITE, training_method="lora", gpu="L40S")

    async def use() -> None:
        reader = Reader(lambda name, revision, found: reported.append(name))
        reader.read("max_seq_len", config, 1)
        reader.read("max_seq_len", config, 1)  # another view asks too
        await asyncio.sleep(0)
        reported.append("a change")
        while len(reported) < 2:
            await asyncio.sleep(0)

    asyncio.run(use())
    assert reported == ["a change", "max_seq_len"]


def test_what_is_under_way_ends_with_the_widget() -> None:
    reported: list[str] = []
    config = vw.TrainingConfig(GRANITE, gpu="L40S")

    async def use() -> None:
        reader = Reader(lambda name, revision, found: reported.append(name))
        reader.read("training_method", config, 1)
        await asyncio.sleep(0)
        reader.stop()
        await asyncio.sleep(0.1)

    asyncio.run(use())
    assert reported == []


def test_a_move_along_the_axis_computes_nothing_again(
    widget: vw.VRAMWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(widget, type="read", reading="max_seq_len")
    before = widget.readings["max_seq_len"]
    tried: list[object] = []
    module = importlib.import_module("vram_widget.advise.sweep")  # the package names its function
    monkeypatch.setattr(module, "estimate", tried.append)
    widget.max_seq_len = 8192
    ask(widget, type="read", reading="max_seq_len")
    again = widget.readings["max_seq_len"]
    assert again["revision"] > before["revision"]
    assert {**again, "revision": 0} == {**before, "revision": 0}
    assert tried == []


def test_the_print_marks_the_present_value_and_the_largest(widget: vw.VRAMWidget) -> None:
    figure = widget.plot("max_seq_len")
    said = [text.get_text() for text in figure.axes[0].texts]
    assert any(text.startswith("now 2,048 · ") for text in said)
    most = vw.largest(widget.config, "max_seq_len")
    assert any(f"{most:,} is the largest that fits" in text for text in said)
    assert len(widget.plot("training_method").axes[0].get_xticks()) == 4
    with pytest.raises(vw.ConfigError, match="Did you mean 'max_seq_len'"):
        widget.plot("max_seqlen")


def test_a_saved_page_holds_every_reading(widget: vw.VRAMWidget) -> None:
    page = widget.to_html()
    assert set(widget.readings) == set(ALONG)
    assert page is not None
    assert "Peak over sequence length" in page


@pytest.mark.parametrize("choices", [{}, {"memory_model": "training_hub"}])
def test_every_moment_is_explained(choices: dict[str, Any]) -> None:
    widget = vw.VRAMWidget(GRANITE, gpu="L40S", **choices)
    timeline = widget.estimate.timeline
    for index in range(0, len(timeline), 7):
        ask(widget, type="explain", index=index)
        shown = widget.explained
        assert (shown["revision"], shown["index"]) == (widget.report["revision"], index)
        for name, levels in timeline.bytes.items():
            if levels[index]:
                assert shown["notes"][name] not in ("", "none at this moment")


def test_there_is_no_moment_beyond_the_last(widget: vw.VRAMWidget) -> None:
    for index in (-1, len(widget.estimate.timeline), "1", 10**12):
        ask(widget, type="explain", index=index)
    assert widget.explained is None


# -- pinned --------------------------------------------------------------------------------------


def test_what_is_pinned_is_the_estimate_of_then(widget: vw.VRAMWidget) -> None:
    then, config = widget.estimate, widget.config
    ask(widget, type="pin")
    widget.max_seq_len = 8192
    widget.use_liger = True
    shown = json.loads(json.dumps(widget.pinned))
    assert shown["expected"] == then.expected == sum(shown["components"].values())
    assert shown["components"] == then.components
    assert shown["config"] == json.loads(json.dumps(config))
    assert max(shown["total"]) == max(then.timeline.total)
    assert len(shown["at"]) == len(shown["total"])


def test_only_fields_that_matter_and_differ_are_named(widget: vw.VRAMWidget) -> None:
    ask(widget, type="pin")
    assert widget.report["differences"] == []
    widget.optim = "sgd"
    widget.unfreeze_rank_ratio = 0.5  # of no matter in LoRA
    widget.max_seq_len = 4096
    said = {each["label"]: (each["before"], each["now"]) for each in widget.report["differences"]}
    assert said == {
        "Optimizer": ("AdamW, 8-bit", "SGD"),
        "Sequence length": ("2,048", "4,096"),
    }


def test_going_back_takes_every_choice_again(widget: vw.VRAMWidget) -> None:
    config, shown = widget.config, repr(widget)
    ask(widget, type="pin")
    widget.training_method = "sft"
    widget.max_seq_len = 16384
    ask(widget, type="return")
    assert widget.config == config
    assert repr(widget) == shown
    assert widget.report["differences"] == []
    widget.undo()
    assert widget.training_method == "sft"


def test_unpinned_there_is_nothing_to_compare_with(widget: vw.VRAMWidget) -> None:
    ask(widget, type="pin")
    widget.max_seq_len = 4096
    ask(widget, type="unpin")
    assert widget.pinned is None
    assert widget.report["differences"] == []
    ask(widget, type="return")
    assert widget.max_seq_len == 4096


def test_pinning_says_nothing_again_that_is_about_the_report(widget: vw.VRAMWidget) -> None:
    ask(widget, type="advise")
    before = widget.report["revision"]
    ask(widget, type="pin")
    assert widget.report["revision"] == before == widget.advice["revision"]


def test_only_python_writes_what_it_says(widget: vw.VRAMWidget) -> None:
    ask(widget, type="pin")
    pinned = widget.pinned
    widget.set_state({"pinned": None, "readings": {"steps": {}}})
    assert widget.pinned == pinned
    assert widget.readings == {}
