"""The widget's Python half: its traits, its errors, and one estimate for every change."""

from __future__ import annotations

import ast
import base64
import json
import subprocess
import sys
import warnings
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vram_widget as vw
from vram_widget.config import TrainingConfig
from vram_widget.errors import ConfigError, ModelError, UnknownFieldError, VRAMWidgetError
from vram_widget.estimate.estimate import estimate
from vram_widget.export import ExportWarning
from vram_widget.widget import VRAMWidget
from vram_widget.widget import live as module

GRANITE = "ibm-granite/granite-3.3-2b-instruct"


@pytest.fixture
def widget() -> VRAMWidget:
    return VRAMWidget(GRANITE, gpu="L40S")


@pytest.fixture
def estimates(monkeypatch: pytest.MonkeyPatch) -> list[TrainingConfig]:
    """Every configuration that the widget estimates from now on."""
    seen: list[TrainingConfig] = []

    def counted(config: TrainingConfig) -> Any:
        seen.append(config)
        return estimate(config)

    monkeypatch.setattr(module, "estimate_memory", counted)
    return seen


def agrees(widget: VRAMWidget) -> bool:
    """Whether what is shown is the estimate for the configuration."""
    shown = widget.report["low"], widget.report["expected"], widget.report["high"]
    return shown == tuple(estimate(**widget.config)) == tuple(widget.estimate)


def test_the_configuration_rebuilds_the_widget(widget: VRAMWidget) -> None:
    widget.training_method = "qlora"
    widget.lora_r = 64
    widget.gpu_memory = "40GiB"
    again = VRAMWidget(**json.loads(json.dumps(widget.config)))
    assert again.config == widget.config
    assert tuple(again.estimate) == tuple(widget.estimate)
    assert repr(again) == repr(widget)


def test_every_field_of_the_configuration_is_synced() -> None:
    assert set(TrainingConfig.field_names()) <= set(VRAMWidget(GRANITE, gpu="L40S").keys)


def test_a_change_from_python_changes_the_report(widget: VRAMWidget) -> None:
    before = widget.report["expected"]
    widget.micro_batch_size = 16
    assert widget.report["expected"] > before
    assert agrees(widget)


def test_observers_of_the_report_see_one_for_the_change(
    widget: VRAMWidget,
) -> None:
    seen = []
    widget.observe(lambda change: seen.append(widget.report["expected"]), "report")
    widget.max_seq_len = 8192
    assert seen == [widget.estimate.expected]


def test_observers_of_a_field_find_the_estimate_for_its_new_value(widget: VRAMWidget) -> None:
    seen = []
    widget.observe(lambda change: seen.append(widget.estimate), "micro_batch_size")
    widget.micro_batch_size = 16
    widget.set_state({"micro_batch_size": 4})
    assert [each.config.micro_batch_size for each in seen] == [16, 4]
    assert [each.expected for each in seen] == [
        estimate(widget.replace(micro_batch_size=size)).expected for size in (16, 4)
    ]


def test_one_estimate_for_a_batch_of_changes(
    widget: VRAMWidget, estimates: list[TrainingConfig]
) -> None:
    widget.training_method = "lora"  # and with it a dozen fields that follow the trainer
    assert len(estimates) == 1
    with widget.hold_trait_notifications():
        widget.micro_batch_size = 8
        widget.max_seq_len = 4096
        widget.gpu = "H100"
    assert len(estimates) == 2
    widget.set_state({"lora_r": 8, "num_gpus": 2})
    assert len(estimates) == 3
    widget.lora_r = 8
    assert len(estimates) == 3
    assert agrees(widget)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("training_method", "loar", "Did you mean 'lora'"),
        ("max_seq_len", -1, "between 1 and"),
        ("micro_batch_size", "many", "whole number"),
        ("gpu_memory", "48 bananas", "48GiB"),
        ("model_path", "./nothing", "./nothing"),
        ("gpu", "Voodoo 2", "Voodoo 2"),
    ],
)
def test_a_bad_value_is_refused_and_the_last_good_estimate_stays(
    widget: VRAMWidget, name: str, value: object, said: str
) -> None:
    good, chart = widget.config, widget.report["timeline"]
    with pytest.raises(VRAMWidgetError, match=said):
        setattr(widget, name, value)
    assert widget.config == good
    widget.set_state({name: value})
    assert widget.config == good
    assert list(widget.report["errors"]) == [name]
    assert said in widget.report["errors"][name]
    assert widget.report["timeline"] == chart
    widget.set_state({"micro_batch_size": 2})
    assert widget.report["errors"] == {}
    assert agrees(widget)


def test_a_value_that_the_model_cannot_have_is_refused(widget: VRAMWidget) -> None:
    widget.training_method = "lora"
    with pytest.raises(ConfigError, match="lora_r"):
        widget.lora_r = 60_000
    assert widget.lora_r == 16
    widget.set_state({"lora_r": 60_000})
    assert "lora_r" in widget.report["errors"]["lora_r"]
    assert widget.lora_r == 16
    assert agrees(widget)


def test_a_bad_value_does_not_hold_up_the_good_ones_beside_it(widget: VRAMWidget) -> None:
    widget.set_state({"max_seq_len": "abc", "micro_batch_size": 4})
    assert widget.micro_batch_size == 4
    assert list(widget.report["errors"]) == ["max_seq_len"]
    assert agrees(widget)


def test_going_back_to_the_value_it_has_takes_a_refusal_away(widget: VRAMWidget) -> None:
    widget.set_state({"max_seq_len": "abc"})
    answered = widget.report["revision"]
    widget.set_state({"max_seq_len": widget.max_seq_len})
    assert widget.report["errors"] == {}
    assert widget.report["revision"] > answered  # the front end waits for an answer


def test_a_refused_change_leaves_what_was_chosen_as_it_was(widget: VRAMWidget) -> None:
    widget.training_method = "lora"
    widget.lora_r = 32
    widget.set_state({"model_path": "./nothing"})
    widget.training_method = "sft"
    widget.training_method = "lora"
    assert widget.lora_r == 32


def test_the_front_end_cannot_write_what_python_says(widget: VRAMWidget) -> None:
    form, report = widget.form, widget.report
    widget.set_state({"report": {"expected": 0}, "form": {}})
    assert widget.form == form
    assert widget.report == {**report, "revision": widget.report["revision"]}


def ask(widget: VRAMWidget, **request: Any) -> None:
    """Send what the front end sends when it asks for something."""
    widget._handle_custom_msg(request, [])


def test_advice_is_about_the_estimate_shown(widget: VRAMWidget) -> None:
    assert widget.advice is None
    ask(widget, type="advise")
    said = widget.advice
    assert said["revision"] == widget.report["revision"]
    ask(widget, type="advise")
    assert widget.advice is said
    widget.max_seq_len = 4096
    ask(widget, type="advise")
    assert widget.advice["revision"] == widget.report["revision"]


@pytest.mark.parametrize("method", ["sft", "lora", "osft"])
def test_an_applied_suggestion_gives_the_verdict_it_promised(
    widget: VRAMWidget, method: str
) -> None:
    widget.training_method = method
    widget.max_seq_len = 8192
    ask(widget, type="advise")
    assert widget.advice["suggestions"]
    for suggestion in widget.advice["suggestions"]:
        before = TrainingConfig(**widget.config)
        ask(widget, type="apply", changes=suggestion["changes"])
        assert widget.report["verdict"]["level"] == suggestion["level"]
        assert agrees(widget)
        widget._become(before)


def test_the_whole_run_is_timed_and_costs_what_the_price_says(widget: VRAMWidget) -> None:
    ask(widget, type="advise")
    labels = [figure["label"] for figure in widget.advice["run"]["figures"]]
    assert labels == ["Time", "Steps", "Tokens a second"]
    widget.set_state({"gpu_hour_price": 2.5, "num_samples": 1000})
    ask(widget, type="advise")
    figures = {each["label"]: each["value"] for each in widget.advice["run"]["figures"]}
    run = vw.run_time(widget.replace())
    assert figures["Steps"] == f"{run.steps:,}"
    assert float(figures["Cost"]) == pytest.approx(2.5 * run.gpu_hours.expected, abs=0.005)


def test_the_largest_micro_batch_can_be_applied(widget: VRAMWidget) -> None:
    widget.training_method = "lora"
    ask(widget, type="advise")
    largest = widget.advice["largest"]
    ask(widget, type="apply", changes=largest["changes"])
    assert str(widget.micro_batch_size) in largest["text"]
    assert widget.report["verdict"]["level"] == "fits"
    ask(widget, type="advise")
    assert widget.advice["largest"]["changes"] == {}


def test_the_text_to_launch_with_is_what_the_exports_say(widget: VRAMWidget) -> None:
    widget.training_method = "lora"
    ask(widget, type="advise")
    texts = {each["name"]: each["text"] for each in widget.advice["launches"]}
    assert ast.literal_eval(texts["python"]) == widget.config
    for target in ("training_hub", "trl"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExportWarning)
            assert ast.literal_eval(texts[target]) == widget.export(target)
    assert yaml.safe_load(texts["axolotl"]) == widget.export("axolotl")
    assert yaml.safe_load(texts["kubeflow"])["kind"] == "TrainJob"


def test_changes_that_cannot_be_applied_are_refused_together(widget: VRAMWidget) -> None:
    good = widget.config
    ask(widget, type="apply", changes={"micro_batch_size": 4, "max_seq_len": -1})
    assert widget.config == good
    assert set(widget.report["errors"]) == {"micro_batch_size", "max_seq_len"}
    answered = widget.report["revision"]
    ask(widget, type="apply", changes={"max_seq_len": good["max_seq_len"]})
    assert widget.report["errors"] == {}
    assert widget.report["revision"] > answered  # an answer, though there is no change


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(), scalars, max_size=2)
messages = st.dictionaries(st.sampled_from(TrainingConfig.field_names()), values, max_size=4)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(message=messages)
def test_no_message_from_the_front_end_raises_or_leaves_a_bad_value(
    widget: VRAMWidget, message: dict[str, Any]
) -> None:
    widget.set_state(message)
    assert agrees(widget)
    json.dumps(widget.report)
    assert set(widget.report["errors"]) <= set(message)


def test_an_unknown_keyword_names_the_nearest() -> None:
    with pytest.raises(UnknownFieldError, match="micro_batch_size"):
        VRAMWidget(GRANITE, micro_batch=4)


def test_a_tutorial_shows_only_its_controls() -> None:
    widget = VRAMWidget(GRANITE, gpu="L40S", controls=["max_seq_len", "lora_alpha"])
    fields = [field for group in widget.form["groups"] for field in group["fields"]]
    assert [field["name"] for field in fields] == ["lora_alpha", "max_seq_len"]
    assert not any(field["advanced"] for field in fields)
    widget.set_state({"max_seq_len": 4096})
    assert agrees(widget)
    assert len(VRAMWidget(GRANITE, gpu="L40S").form["groups"]) > 2


def test_what_nobody_chooses_has_no_control() -> None:
    widget = VRAMWidget(GRANITE, gpu="L40S")
    drawn = {field["name"] for group in widget.form["groups"] for field in group["fields"]}
    assert widget.config["objective"] == "sft"
    assert set(TrainingConfig.field_names()) - drawn == {
        "objective",
        "uncounted",
        "zero_optimization",
    }


@pytest.mark.parametrize("controls", [["max_seq_length"], "max_seq_length", ["gpu", "num_epoch"]])
def test_a_control_that_there_is_not_names_the_nearest(controls: Any) -> None:
    with pytest.raises(UnknownFieldError, match=r"max_seq_len|Did you mean 'num_epochs'"):
        VRAMWidget(GRANITE, controls=controls)


def test_an_unknown_model_is_an_exception_in_python() -> None:
    with pytest.raises(ModelError, match="no folder"):
        VRAMWidget("./nothing")


def test_a_folder_is_a_model(tmp_path: Any, widget: VRAMWidget) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        widget.model_path = str(tmp_path)
    (tmp_path / "config.json").write_text("{not json")
    with pytest.raises(ModelError):
        widget.model_path = str(tmp_path)
    assert widget.model_path == GRANITE


def test_the_output_says_it_without_a_kernel(widget: VRAMWidget) -> None:
    data, _ = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert widget.report["verdict"]["words"] in data["text/plain"]


def test_the_repr_is_stable_and_states_the_result(widget: VRAMWidget) -> None:
    assert repr(widget) == repr(VRAMWidget(**widget.config))
    assert widget.report["verdict"]["words"] in repr(widget)


def test_nothing_heavy_is_imported_to_show_the_widget() -> None:
    code = (
        "import sys; from vram_widget.widget import VRAMWidget; VRAMWidget(gpu='L40S');"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'matplotlib', 'numpy'};"
        "print(heavy & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
