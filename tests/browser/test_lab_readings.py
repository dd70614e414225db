"""The readings of the chart, the pin and the saved picture, in a real JupyterLab."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

if TYPE_CHECKING:
    from chromium import Open
    from lab import Notebook

pytest.importorskip("playwright", reason="playwright is not installed")

SHOW = """
from vram_widget.widget import VRAMWidget
w = VRAMWidget("meta-llama/Llama-3.1-8B", training_method="lora", gpu="L40S")
w
"""

READINGS = {
    "Length": "max_seq_len",
    "Micro-batch": "micro_batch_size",
    "Methods": "training_method",
}


@pytest.fixture(scope="module")
def notebook(open_notebook: Open) -> Iterator[Notebook]:
    with open_notebook(SHOW) as notebook:
        yield notebook


@pytest.fixture(autouse=True)
def as_first_shown(request: pytest.FixtureRequest) -> None:
    if "notebook" in request.fixturenames:
        notebook = request.getfixturevalue("notebook")
        start = "VRAMWidget(model_path=w.model_path, training_method='lora', gpu='L40S').config"
        notebook.run(f"w.unpin()\nfor k, v in {start}.items(): setattr(w, k, v)")
        notebook.widget.get_by_role("tab", name="Training steps").click()
        notebook.drawn()
        notebook.errors.clear()


def read(notebook: Notebook, label: str) -> None:
    """Open a reading, and wait until it is about the report that is shown."""
    notebook.widget.get_by_role("tab", name=label).click()
    current(notebook, READINGS[label])


def current(notebook: Notebook, name: str) -> None:
    said = f"w.readings.get({name!r}, {{}}).get('revision') == w.report['revision']"
    assert notebook.becomes(said, True)
    notebook.widget.locator(".vw-waiting:empty").wait_for(state="attached", timeout=5000)


@pytest.mark.parametrize("label", READINGS)
def test_a_reading_shows_what_python_computed(notebook: Notebook, label: str) -> None:
    read(notebook, label)
    shown = notebook.python(f"w.readings[{READINGS[label]!r}]")
    assert shown["title"] in notebook.widget.locator(".vw-figure h3").text_content()
    chart = notebook.widget.locator(".vw-chart")
    chart.focus()
    notebook.page.keyboard.press("Home")
    for index in range(3):
        words = chart.get_attribute("aria-valuetext") or ""
        assert shown["names"][index].lower() in words.lower()
        assert f"{shown['expected'][index] / 2**30:.1f} GiB" in words
        notebook.page.keyboard.press("ArrowRight")
    assert notebook.errors == []


def test_a_value_is_applied_by_keyboard(notebook: Notebook) -> None:
    read(notebook, "Length")
    chart = notebook.widget.locator(".vw-chart")
    chart.focus()
    for key in ("Enter", "ArrowRight", "ArrowRight", "Enter"):  # from the present one, at 2,048
        notebook.page.keyboard.press(key)
    assert notebook.becomes("w.max_seq_len", 4096)
    current(notebook, "max_seq_len")
    assert "now 4,096" in (notebook.widget.locator(".vw-marks").text_content() or "")


def test_a_method_is_applied_by_click(notebook: Notebook) -> None:
    read(notebook, "Methods")
    promised = notebook.python("w.readings['training_method']['expected'][2]")
    box = notebook.widget.locator(".vw-chart").bounding_box()
    assert box
    notebook.widget.locator(".vw-bar-name").nth(2).hover()
    x, _ = center(notebook.widget.locator(".vw-bar-name").nth(2).bounding_box())
    notebook.page.mouse.click(x, box["y"] + box["height"] / 2)
    assert notebook.becomes("w.training_method", "qlora")
    assert notebook.python("w.estimate.expected") == promised


def center(box: dict[str, float] | None) -> tuple[float, float]:
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_largest_that_fits_is_applied(notebook: Notebook) -> None:
    read(notebook, "Micro-batch")
    most = notebook.python("w.readings['micro_batch_size']['limit']['value']")
    notebook.widget.get_by_role("button", name=f"Use {most:,}").click()
    assert notebook.becomes("w.micro_batch_size", most)
    assert notebook.python("w.estimate.verdict") == "fits"


def test_a_drag_with_a_reading_open_ends_at_the_right_figures(notebook: Notebook) -> None:
    read(notebook, "Micro-batch")
    height = notebook.widget.bounding_box()
    slider = notebook.row("max_seq_len").locator(".vw-slider")
    box = slider.bounding_box()
    assert box
    assert height
    middle = box["y"] + box["height"] / 2
    notebook.page.mouse.move(box["x"] + 7, middle)
    notebook.page.mouse.down()
    charts = []
    for step in range(20):
        notebook.page.mouse.move(box["x"] + box["width"] * step / 20, middle)
        notebook.page.wait_for_timeout(40)
        charts.append(notebook.widget.locator(".vw-chart").bounding_box())
    notebook.page.mouse.up()
    assert all(chart == charts[0] for chart in charts)  # nothing jumps
    notebook.drawn()
    current(notebook, "micro_batch_size")
    at = notebook.python("w.readings['micro_batch_size']['values'].index(w.micro_batch_size)")
    shown = notebook.python("w.readings['micro_batch_size']")
    assert shown["expected"][at] == notebook.python("w.report['expected']")


def test_a_pinned_configuration_is_compared_with_in_every_view(open_notebook: Open) -> None:
    with open_notebook(f"{SHOW.rstrip().removesuffix('w')}display(w)\ndisplay(w)") as notebook:
        views = notebook.page.locator(".vram-widget")
        views.nth(1).locator(".vw-area").first.wait_for(state="attached")
        views.nth(0).get_by_role("button", name="Pin", exact=True).click()
        assert notebook.becomes("w.pinned is not None", True)
        notebook.run("w.max_seq_len = 8192")
        notebook.drawn()
        more = notebook.python("(w.estimate.expected - w.pinned['expected']) / 2**30")
        for view in views.all():
            panel = view.locator(".vw-pinned")
            panel.get_by_text("2,048 → 8,192").wait_for(timeout=5000)
            assert f"+{more:.1f} GiB" in (panel.text_content() or "")
        views.nth(1).get_by_role("button", name="Go back").click()
        assert notebook.becomes("w.max_seq_len", 2048)
        views.nth(0).get_by_role("button", name="Unpin").click()
        for view in views.all():
            view.locator(".vw-pinned").wait_for(state="hidden", timeout=5000)
        assert notebook.errors == []


@pytest.mark.parametrize("label", ["Training steps", *READINGS])
def test_the_chart_is_saved(notebook: Notebook, tmp_path: Path, label: str) -> None:
    notebook.widget.get_by_role("tab", name=label).click()
    notebook.widget.locator(".vw-waiting:empty").wait_for(state="attached")
    files = {}
    for kind in ("PNG", "SVG"):
        with notebook.page.expect_download() as saved:
            notebook.widget.get_by_role("button", name=f"Save the chart as {kind}").click()
        assert saved.value.suggested_filename.startswith("Llama-3.1-8B-lora-")
        files[kind] = tmp_path / saved.value.suggested_filename
        saved.value.save_as(files[kind])
    root = ElementTree.parse(files["SVG"]).getroot()
    words = "".join(root.itertext())
    assert notebook.python("w.report['verdict']['words']") in words
    assert "Llama-3.1-8B" in words
    said = files["SVG"].read_text()
    assert "var(" not in said
    assert "color-mix" not in said
    picture = files["PNG"].read_bytes()
    assert picture.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", picture[16:24])
    assert (width, height) == (2 * int(root.attrib["width"]), 2 * int(root.attrib["height"]))
    assert len(picture) > 20_000
    assert notebook.errors == []
    assert notebook.hosts == {"127.0.0.1"}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_any_reading(open_notebook: Open, theme: str) -> None:
    with open_notebook(SHOW, theme=theme) as notebook:
        notebook.page.locator(f'.vram-widget[data-theme="{theme}"]').wait_for(timeout=5000)
        notebook.widget.get_by_role("button", name="Pin", exact=True).click()
        assert notebook.becomes("w.pinned is not None", True)
        notebook.run("w.max_seq_len = 65536; w.optim = 'sgd'")
        notebook.drawn()
        for label in ("Training steps", *READINGS):
            notebook.widget.get_by_role("tab", name=label).click()
            notebook.widget.locator(".vw-waiting:empty").wait_for(state="attached")
            notebook.widget.locator(".vw-chart").focus()
            notebook.page.keyboard.press("End")
            assert notebook.findings() == []
        assert notebook.errors == []
