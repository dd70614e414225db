"""Settings of another program in the widget: read from text alone, and put in as one change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vram_widget.config import TrainingConfig
from vram_widget.errors import ConfigError
from vram_widget.export.readers import from_file
from vram_widget.export.readers.reader import readers
from vram_widget.show import text
from vram_widget.widget import VRAMWidget
from vram_widget.widget.imported import read

GRANITE = "ibm-granite/granite-3.3-2b-instruct"
SETTINGS = """
model_name_or_path: Qwen/Qwen3-8B
use_peft: true
lora_r: 8
max_length: 4096
per_device_train_batch_size: 2
"""


@pytest.fixture
def widget() -> VRAMWidget:
    card = {"gpu": "L40S", "gpu_memory": "40GiB", "gpu_hour_price": 2.5, "num_samples": 500}
    return VRAMWidget(GRANITE, **card)


def ask(widget: VRAMWidget, **request: Any) -> None:
    widget._handle_custom_msg(request, [])


def put(widget: VRAMWidget, settings: str) -> None:
    ask(widget, type="import", text=settings, name="")
    ask(widget, type="put")


def test_what_was_read_is_shown_before_anything_moves(widget: VRAMWidget) -> None:
    before = widget.config
    ask(widget, type="import", text=SETTINGS, name="sft.yaml")
    shown = widget.imported
    assert widget.config == before
    assert shown["heading"] == "sft.yaml, read as settings of TRL"
    changes = {each["name"]: (each["before"], each["now"]) for each in shown["differences"]}
    assert changes["max_seq_len"] == ("2,048", "4,096")
    assert changes["training_method"] == ("SFT", "LoRA")
    assert not changes.keys() & {"gpu", "gpu_memory", "gpu_hour_price", "num_samples", "uncounted"}
    widget.max_seq_len = 4096
    assert "max_seq_len" not in {each["name"] for each in widget.imported["differences"]}


def test_it_is_one_change_that_can_be_undone(widget: VRAMWidget) -> None:
    before = widget.config
    ask(widget, type="import", text=SETTINGS, name="")
    first = widget.imported["revision"]
    ask(widget, type="put")
    assert widget.imported is None
    after = widget.config
    found = from_file(SETTINGS)
    stays = {"gpu": "L40S", "gpu_memory": 40 << 30, "gpu_hour_price": 2.5, "num_samples": 500}
    assert after == {**found.config, **stays}
    ask(widget, type="import", text=SETTINGS, name="")
    assert widget.imported["revision"] > first  # each answer is another one
    ask(widget, type="undo")
    assert widget.config == before
    assert widget.history["undo"] is None
    ask(widget, type="redo")
    assert widget.config == after


def test_a_change_just_before_is_one_of_its_own(widget: VRAMWidget) -> None:
    widget.max_seq_len = 1024
    put(widget, f"model_name_or_path: {GRANITE}\ntrainer: sft\nmax_length: 4096\nbf16: true")
    assert widget.max_seq_len == 4096
    widget.undo()
    assert widget.max_seq_len == 1024


def test_in_python_it_is_the_same(widget: VRAMWidget) -> None:
    before = widget.config
    widget.import_from(SETTINGS, num_gpus=4)
    assert (widget.model_path, widget.num_gpus, widget.gpu) == ("Qwen/Qwen3-8B", 4, "L40S")
    widget.undo()
    assert widget.config == before
    with pytest.raises(ConfigError):
        widget.import_from("rl: dpo\nbase_model: Qwen/Qwen3-8B")
    assert widget.config == before


@pytest.mark.parametrize(
    "settings",
    ["", "a: [", "rl: dpo\nbase_model: m", "trl dpo --model_name_or_path m", "just words"],
)
def test_what_cannot_be_read_is_said_and_changes_nothing(widget: VRAMWidget, settings: str) -> None:
    before = widget.config
    put(widget, settings)
    assert widget.imported["error"].endswith(".")
    assert widget.imported["heading"] == ""
    assert widget.config == before
    assert widget.history["undo"] is None


def test_what_cannot_be_estimated_is_said_and_can_be_tried_again(widget: VRAMWidget) -> None:
    before = widget.config
    put(widget, SETTINGS.replace("Qwen/Qwen3-8B", "./nothing"))
    assert "no folder" in widget.imported["error"]
    assert widget.imported["heading"]
    assert widget.config == before
    assert widget.report["errors"] == {}
    answers = widget.imported["revision"]
    ask(widget, type="put")
    assert widget.imported["revision"] > answers


def test_what_is_not_counted_shows_in_the_header(widget: VRAMWidget) -> None:
    assert widget.report["uncounted"] is None
    put(widget, f"{SETTINGS}\nmax_stepz: 3")
    notices = widget.uncounted
    assert any("max_steps" in each["text"] for each in notices)
    assert str(len(notices)) in widget.report["uncounted"]["words"]
    assert widget.report["uncounted"]["effect"] in ("too_little", "unknown")
    assert {each["text"] for each in notices} <= {*widget.report["notices"]}
    widget.undo()
    assert widget.report["uncounted"] is None


def test_the_verdict_says_where_it_is_likely_only_for_what_is_not_counted() -> None:
    notice = {"text": "a: 1 is not counted.", "effect": "too_little"}
    estimate = VRAMWidget(GRANITE, gpu="H100", uncounted=[notice]).estimate
    assert estimate.verdict == "likely"
    assert text.verdict(estimate).endswith("on each GPU, not all counted")
    card = {"gpu": "H100", "gpu_memory": estimate.high - (1 << 28)}
    near = VRAMWidget(GRANITE, uncounted=[notice], **card).estimate
    assert near.verdict == "likely"
    assert text.verdict(near).endswith("usable")


@pytest.mark.parametrize(
    ("effects", "words", "worst"),
    [
        (["too_much"], "1 setting not counted", "too_much"),
        (["too_much", "unknown"], "2 settings not counted", "unknown"),
        (["unknown", "too_little", "too_much"], "3 settings not counted", "too_little"),
    ],
)
def test_the_worst_effect_is_named(effects: list[str], words: str, worst: str) -> None:
    notices: Any = [{"text": "a", "effect": effect} for effect in effects]
    said = text.uncounted(TrainingConfig("m", uncounted=notices))
    assert said
    assert (said["words"], said["effect"]) == (words, worst)


def test_without_a_model_or_gpus_those_of_the_widget_are_taken() -> None:
    now = TrainingConfig("a/b", num_gpus=8)
    found = read('{"zero_optimization": {"stage": 3}}', now)
    assert (found.model_path, found.sharding, found.num_gpus) == ("a/b", "zero3", 8)
    assert not any("num_gpus" in each["text"] for each in found.uncounted)


def test_a_text_is_never_a_path(tmp_path: Path) -> None:
    file = tmp_path / "sft.yaml"
    file.write_text(SETTINGS)
    assert from_file(str(file), num_gpus=1).model_path == "Qwen/Qwen3-8B"
    for text_of in (str(file), f"{file}\n", f"trl sft --config {file}", f"axolotl train {file}"):
        with pytest.raises(ConfigError):
            read(text_of, TrainingConfig("m"))


def test_files_that_it_names_are_opened_in_the_working_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for folder in (here, tmp_path):
        (folder / "zero.json").write_text('{"zero_optimization": {"stage": 2}}')
    (here / "link.json").symlink_to(tmp_path / "zero.json")
    now = TrainingConfig("m", num_gpus=2)
    for named in ("zero.json", "./zero.json"):
        assert read(f"{SETTINGS}deepspeed: {named}", now).sharding == "zero2"
    outside = ["../zero.json", str(tmp_path / "zero.json"), "link.json", "~/zero.json"]
    for named in outside:
        with pytest.raises(ConfigError, match="outside the notebook's folder"):
            read(f"{SETTINGS}deepspeed: {named}", now)


@pytest.mark.parametrize(
    ("settings", "program"),
    [
        ('{"zero_optimization": {"stage": 2}}', "DeepSpeed"),
        ("compute_environment: LOCAL_MACHINE\ndistributed_type: NO", "Accelerate"),
        ("trl sft --model_name_or_path Qwen/Qwen3-8B", "TRL"),
        ("base_model: Qwen/Qwen3-8B\nadapter: lora", "Axolotl"),
    ],
)
def test_it_says_whose_settings_they_are(widget: VRAMWidget, settings: str, program: str) -> None:
    ask(widget, type="import", text=settings, name="")
    assert widget.imported["heading"] == f"The text, read as settings of {program}"


def test_the_panel_names_every_program_that_is_read() -> None:
    panel = (Path(__file__).parents[1] / "js" / "src" / "import.ts").read_text("utf-8")
    for reader in readers():
        assert reader.label in panel


texts = st.text(max_size=200) | st.dictionaries(
    st.sampled_from(["base_model", "deepspeed", "fsdp_config", "lora_r", "model", "datasets"]),
    st.recursive(st.none() | st.integers() | st.text(max_size=9), st.lists, max_leaves=4),
).map(json.dumps)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(given_text=texts)
def test_no_text_raises_or_leaves_a_half_of_it(widget: VRAMWidget, given_text: str) -> None:
    before = widget.config
    put(widget, given_text)
    if widget.imported is not None:
        assert widget.imported["error"]
        assert widget.config == before
    json.dumps(widget.report)
