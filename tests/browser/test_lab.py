"""The widget in a real JupyterLab: seen, moved by mouse and keyboard, measured, and audited."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from chromium import Open
    from lab import Notebook

pytest.importorskip("playwright", reason="playwright is not installed")

SHOW = """
from vram_widget.widget import VRAMWidget
w = VRAMWidget("ibm-granite/granite-3.3-2b-instruct", gpu="L40S")
w
"""


@pytest.fixture(scope="module")
def notebook(open_notebook: Open) -> Iterator[Notebook]:
    with open_notebook(SHOW) as notebook:
        yield notebook


@pytest.fixture(autouse=True)
def as_first_shown(request: pytest.FixtureRequest) -> None:
    """Begin every test with the widget as it first appears."""
    if "notebook" in request.fixturenames:
        notebook = request.getfixturevalue("notebook")
        notebook.run("for k, v in VRAMWidget(gpu='L40S').config.items(): setattr(w, k, v)")
        notebook.drawn()
        notebook.errors.clear()


def area(notebook: Notebook) -> str:
    """The outline of the activations, as drawn."""
    shape = notebook.widget.locator('[data-component="activations"]').get_attribute("d")
    assert shape
    return shape


def shows(notebook: Notebook) -> None:
    """Check that the verdict drawn is the one that Python computed."""
    notebook.drawn()
    said = notebook.widget.locator(".vw-verdict strong").text_content()
    assert said == notebook.python("w.report['verdict']['words']")


def test_the_widget_appears_with_what_python_computed(notebook: Notebook) -> None:
    shows(notebook)
    peak = notebook.python("w.report['peak']['label']")
    assert peak in notebook.widget.locator(".vw-marks").text_content()
    assert notebook.widget.locator(".vw-table tbody tr").count() == 7
    box = notebook.widget.bounding_box()
    assert box
    assert box["height"] < 1000
    assert not notebook.widget.locator(".vw-lookup").is_visible()
    assert notebook.errors == []


def test_a_slider_moved_by_mouse_changes_the_figure(notebook: Notebook) -> None:
    before, shape = notebook.python("w.estimate.expected"), area(notebook)
    slider = notebook.row("micro_batch_size").locator(".vw-slider")
    box = slider.bounding_box()
    assert box
    middle = box["y"] + box["height"] / 2
    notebook.page.mouse.move(box["x"] + 7, middle)
    notebook.page.mouse.down()
    for share in (0.3, 0.5, 0.7):
        notebook.page.mouse.move(box["x"] + box["width"] * share, middle, steps=4)
    notebook.page.mouse.up()
    assert notebook.becomes("w.micro_batch_size", 16)
    assert notebook.python("w.estimate.expected") > before
    shows(notebook)
    assert area(notebook) != shape
    assert notebook.row("micro_batch_size").locator(".vw-number").input_value() == "16"
    assert notebook.errors == []


def test_a_slider_moved_by_keyboard_changes_the_figure(notebook: Notebook) -> None:
    shape = area(notebook)
    notebook.row("max_seq_len").locator(".vw-slider").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowUp"):
        notebook.page.keyboard.press(key)
    assert notebook.becomes("w.max_seq_len", 8192)
    shows(notebook)
    assert area(notebook) != shape


def test_no_key_is_lost_to_the_notebook(notebook: Notebook) -> None:
    cells = "() => window.jupyterapp.shell.currentWidget.content.widgets.length"
    count = notebook.page.evaluate(cells)
    box = notebook.row("model_path").locator("input")
    box.click()
    notebook.page.keyboard.type("abdx")
    assert box.input_value() == "abdx"
    notebook.page.keyboard.press("Escape")
    notebook.page.keyboard.press("Escape")
    notebook.widget.locator(".vw-chart").focus()
    for key in ("a", "b", "d", "d", "x", "ArrowDown"):
        notebook.page.keyboard.press(key)
    assert notebook.page.evaluate(cells) == count
    assert notebook.widget.locator(".vw-tip").is_visible()


def test_every_component_can_be_read_by_keyboard(notebook: Notebook) -> None:
    chart = notebook.widget.locator(".vw-chart")
    chart.focus()
    notebook.page.keyboard.press("Enter")
    words = chart.get_attribute("aria-valuetext") or ""
    assert words.startswith(notebook.python("w.report['peak']['moment']").capitalize())
    for part in notebook.python("[p for p in w.report['components'] if p['bytes'] > 2**28]"):
        assert part["name"].capitalize() in words


def test_a_suggestion_is_applied_by_keyboard(notebook: Notebook) -> None:
    notebook.run("w.max_seq_len = 8192")
    shows(notebook)
    advice = notebook.widget.locator(".vw-advice:not(.vw-stale)")
    advice.wait_for(timeout=5000)
    button = advice.get_by_role("button").first
    promised = notebook.python("w.advice['suggestions'][0]")
    button.focus()
    notebook.page.keyboard.press("Enter")
    assert notebook.becomes("w.report['verdict']['level']", promised["level"])
    for name, value in promised["changes"].items():
        assert notebook.python(f"w.{name}") == value
    shows(notebook)
    advice.wait_for(timeout=5000)
    assert notebook.page.evaluate("document.activeElement.closest('.vw-advice') !== null")


def test_changes_are_undone_and_redone_by_keyboard(notebook: Notebook) -> None:
    cells = "() => window.jupyterapp.shell.currentWidget.content.widgets.length"
    count, before = notebook.page.evaluate(cells), notebook.python("w.config")
    slider = notebook.row("micro_batch_size").locator(".vw-slider")
    slider.focus()
    for _ in range(3):
        notebook.page.keyboard.press("ArrowRight")
    assert notebook.becomes("w.micro_batch_size", 8)
    notebook.page.keyboard.press("Control+z")
    assert notebook.becomes("w.config", before)
    shows(notebook)
    assert notebook.row("micro_batch_size").locator(".vw-number").input_value() == "1"
    notebook.page.keyboard.press("Control+Shift+z")
    assert notebook.becomes("w.micro_batch_size", 8)
    notebook.widget.get_by_role("button", name="Undo: Micro-batch").press("Enter")
    assert notebook.becomes("w.config", before)
    assert notebook.page.evaluate(cells) == count
    assert notebook.errors == []


def test_the_control_follows_a_value_set_in_python(notebook: Notebook) -> None:
    notebook.run("w.training_method = 'lora'; w.lora_r = 128")
    box = notebook.row("lora_r").locator(".vw-number")
    shows(notebook)
    assert box.input_value() == "128"


def test_a_bad_value_is_explained_in_place_and_nothing_is_lost(notebook: Notebook) -> None:
    shape, config = area(notebook), notebook.python("w.config")
    box = notebook.row("max_seq_len").locator(".vw-number")
    box.fill("a lot")
    box.press("Enter")
    error = notebook.row("max_seq_len").locator(".vw-error")
    error.wait_for(timeout=5000)
    assert error.text_content() == "max_seq_len must be a whole number, not 'a lot'."
    assert box.input_value() == "a lot"
    assert notebook.python("w.config") == config
    assert area(notebook) == shape
    box.fill("4,096")
    box.press("Enter")
    error.wait_for(state="hidden", timeout=5000)
    assert notebook.becomes("w.max_seq_len", 4096)
    shows(notebook)
    assert notebook.errors == []


def test_a_model_id_is_text_whatever_it_holds(notebook: Notebook) -> None:
    box = notebook.row("model_path").locator("input")
    markup = "<img src=x onerror=document.title='taken'>/model"
    box.fill(markup)
    box.press("Enter")
    error = notebook.row("model_path").locator(".vw-error")
    error.wait_for(timeout=5000)
    notebook.drawn()
    assert markup in (error.text_content() or "")
    assert box.input_value() == markup
    assert notebook.widget.locator("img").count() == 0
    assert notebook.page.title() != "taken"


def test_a_model_is_looked_up_beside_the_notebook(
    open_notebook: Open, hub_of_slow_models: str, tmp_path: Path
) -> None:
    there = {"HF_ENDPOINT": hub_of_slow_models, "HF_HOME": str(tmp_path)}
    with open_notebook(f"import os; os.environ |= {there}\n{SHOW}") as notebook:
        box = notebook.row("model_path").locator("input")
        verdict = notebook.python("w.report['verdict']['words']")
        box.fill("a/slow")
        box.press("Enter")
        notebook.widget.get_by_role("button", name="Cancel").click(timeout=5000)
        notebook.widget.locator(".vw-lookup").wait_for(state="hidden", timeout=5000)
        notebook.drawn()
        assert box.input_value() == notebook.python("w.model_path")
        assert notebook.widget.locator(".vw-verdict strong").text_content() == verdict
        box.fill("a/new")
        box.press("Enter")
        notebook.widget.locator(".vw-lookup").wait_for(timeout=5000)
        assert notebook.becomes("w.model_path", "a/new")
        shows(notebook)
        assert notebook.widget.locator(".vw-title").text_content() == "new"
        assert notebook.errors == []


def test_two_views_stay_in_step(open_notebook: Open) -> None:
    with open_notebook(f"{SHOW.rstrip().removesuffix('w')}display(w)\ndisplay(w)") as notebook:
        views = notebook.page.locator(".vram-widget")
        views.nth(1).locator(".vw-area").first.wait_for(state="attached")
        assert views.count() == 2
        views.nth(0).locator('[data-field="training_method"] label', has_text="OSFT").click()
        views.nth(1).locator('[data-field="unfreeze_rank_ratio"]').wait_for(timeout=5000)
        shows(notebook)
        verdicts = [view.locator(".vw-verdict").text_content() for view in views.all()]
        assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(open_notebook: Open, theme: str) -> None:
    with open_notebook(SHOW, theme=theme) as notebook:
        notebook.page.locator(f'.vram-widget[data-theme="{theme}"]').wait_for(timeout=5000)
        notebook.widget.locator(".vw-all").click()
        notebook.widget.locator(".vw-export summary").click(timeout=5000)
        box = notebook.row("model_path").locator("input")
        for act in (lambda: None, lambda: box.fill("qwen"), lambda: box.press("Enter")):
            act()
            notebook.page.wait_for_timeout(300)
            assert notebook.findings() == []
        assert notebook.errors == []


def test_no_request_leaves_this_machine(notebook: Notebook) -> None:
    assert notebook.hosts == {"127.0.0.1"}


def test_pytorch_itself_runs_the_step_beside_the_notebook(
    open_notebook: Open, tmp_path: Path
) -> None:
    for package in ("torch", "transformers", "peft"):
        pytest.importorskip(package)
    config = {"model_type": "llama", "hidden_size": 512, "intermediate_size": 1024}
    config |= {"num_hidden_layers": 2, "num_attention_heads": 8, "vocab_size": 32_000}
    (tmp_path / "config.json").write_text(json.dumps(config))
    show = SHOW.replace("ibm-granite/granite-3.3-2b-instruct", str(tmp_path))
    with open_notebook(show) as notebook:
        panel = notebook.widget.locator(".vw-verify")
        panel.get_by_role("button", name="Verify with PyTorch").press("Enter")
        panel.get_by_role("button", name="Cancel").wait_for(timeout=5000)
        assert notebook.findings() == []
        # The kernel is free meanwhile.
        notebook.row("micro_batch_size").locator(".vw-number").fill("2")
        notebook.page.keyboard.press("Enter")
        assert notebook.becomes("w.micro_batch_size", 2)
        notebook.page.keyboard.press("Control+z")
        panel.get_by_text("PyTorch's own step peaks at").wait_for(timeout=90_000)
        assert "within 0.1 % of this estimate" in panel.get_by_role("status").inner_text()
        line = notebook.widget.locator(".vw-PyTorch-line")
        assert line.is_visible()
        assert notebook.findings() == []
        notebook.run("w.max_seq_len = 512")
        line.wait_for(state="hidden", timeout=5000)
        assert "earlier configuration" in panel.get_by_role("status").inner_text()
        assert notebook.errors == []
