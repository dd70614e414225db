"""The widget among others of a notebook: linked, laid out, run again, and opened another day."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest

from vram_widget import estimate
from vram_widget.show import text

pytest.importorskip("playwright", reason="playwright is not installed")

if TYPE_CHECKING:
    from lab import Notebook

    Open = Callable[..., AbstractContextManager[Notebook]]

GRANITE = "ibm-granite/granite-3.3-2b-instruct"
MAKE = f"""
from vram_widget import VRAMWidget
w = VRAMWidget({GRANITE!r}, gpu="L40S")
"""
AMONG_OTHERS = f"""{MAKE}
from ipywidgets import HBox, IntSlider, Output, Tab, VBox, interactive_output, jslink

size = IntSlider(1, 1, 64)
jslink((size, "value"), (w, "micro_batch_size"))
length = IntSlider(2048, 256, 8192, step=256)

def longer(max_seq_len):
    w.max_seq_len = max_seq_len
    print(w)

printed = interactive_output(longer, {{"max_seq_len": length}})
Tab([HBox([w]), VBox([size, length, printed])])
"""

#: Listeners and nodes that a page may have more after twenty runs: fewer than two views have.
#: A collection may leave one view that is gone, and JupyterLab three listeners a run of any widget.
LISTENERS, NODES = 400, 1600


def test_other_widgets_move_it_and_follow_it(open_notebook: Open) -> None:
    with open_notebook(AMONG_OTHERS) as notebook:
        tabs = notebook.page.locator(".jupyter-widget-tab .lm-TabBar-tab")
        tabs.nth(1).click()
        said = notebook.page.locator(".jupyter-widget-tab pre")
        shorter = text.verdict(estimate(GRANITE, gpu="L40S"))
        said.filter(has_text=shorter).wait_for(timeout=10_000)
        notebook.run("size.value = 8")  # which the front end passes on
        assert notebook.becomes("w.micro_batch_size", 8)
        notebook.run("length.value = 4096")
        longer = estimate(GRANITE, gpu="L40S", micro_batch_size=8, max_seq_len=4096)
        said.filter(has_text=text.verdict(longer)).wait_for(timeout=10_000)
        # In a tab that was hidden meanwhile, and in a box.
        tabs.nth(0).click()
        notebook.widget.locator(".vw-area[d]").first.wait_for(timeout=10_000)
        notebook.drawn()
        assert notebook.verdict.text_content() == text.verdict(longer)
        box = notebook.widget.bounding_box()
        assert box
        assert box["width"] > 600
        notebook.row("micro_batch_size").locator(".vw-slider").focus()
        notebook.page.keyboard.press("ArrowRight")
        assert notebook.becomes("size.value", 16)
        assert notebook.errors == []


def test_a_cell_run_twenty_times_leaves_nothing_behind(open_notebook: Open) -> None:
    with open_notebook(f"{MAKE}w") as notebook:
        devtools = notebook.page.context.new_cdp_session(notebook.page)
        devtools.send("Performance.enable")

        def run_again(times: int) -> dict[str, float]:
            """Run the cell again and again; return what the page holds then."""
            for _ in range(times):
                before = notebook.python("w.model_id")
                notebook.run_cells()
                assert notebook.python("w.model_id") != before
                notebook.widget.locator(".vw-area[d]").first.wait_for(timeout=10_000)
            for _ in range(4):  # what one collection frees may have held what the next one does
                notebook.page.wait_for_timeout(500)
                devtools.send("HeapProfiler.collectGarbage")
            metrics = devtools.send("Performance.getMetrics")["metrics"]
            return {each["name"]: each["value"] for each in metrics}

        first, last = run_again(2), run_again(20)
        assert notebook.page.locator(".vram-widget").count() == 1
        assert last["JSEventListeners"] - first["JSEventListeners"] < LISTENERS
        assert last["Nodes"] - first["Nodes"] < NODES
        assert notebook.errors == []


def reopened(notebook: Notebook, document: dict[str, Any], trusted: bool) -> None:
    """Write a notebook that this user has signed, or someone else has made, and open it."""
    from nbformat import reads
    from nbformat.sign import NotebookNotary

    file = notebook.saved().with_name(f"{trusted}.ipynb")
    document["cells"][0]["source"] = f"{MAKE}w  # trusted: {trusted}"
    file.write_text(json.dumps(document))
    if trusted:
        notary = NotebookNotary(data_dir=str(file.parent / ".home" / "data"))
        notary.sign(reads(file.read_text(), as_version=4))
    notebook.open(file)


def test_a_notebook_of_someone_else_shows_a_picture(open_notebook: Open) -> None:
    with open_notebook(f"{MAKE}w") as notebook:
        document = json.loads(notebook.saved().read_text())
        (output,) = document["cells"][0]["outputs"]
        assert text.verdict(estimate(GRANITE, gpu="L40S")) in "".join(output["data"]["text/plain"])
        document["metadata"] = {}  # and there is no kernel for it
        reopened(notebook, document, trusted=False)
        picture = notebook.page.locator(".jp-OutputArea-output img").first
        picture.wait_for(timeout=10_000)
        assert picture.evaluate("image => image.complete && image.naturalWidth") > 600
        assert notebook.page.locator(".vram-widget").count() == 0


def test_a_view_without_its_kernel_says_so(open_notebook: Open) -> None:
    with open_notebook(f"{MAKE}w") as notebook:
        assert notebook.widget.get_by_role("note").count() == 0
        length = notebook.row("max_seq_len").locator("input[type=text]")
        notebook.page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()"
        )
        notebook.widget.get_by_role("note").wait_for(timeout=20_000)
        assert length.is_disabled()
        assert notebook.widget.locator(".vw-area[d]").count() > 3
        notebook.run_cells()
        notebook.widget.get_by_role("note").wait_for(state="detached", timeout=20_000)
        length.fill("4096")
        length.press("Enter")
        assert notebook.becomes("w.max_seq_len", 4096)


def test_a_notebook_saved_with_its_widgets_can_be_read(open_notebook: Open) -> None:
    with open_notebook(f"{MAKE}w") as notebook:
        document = json.loads(notebook.saved().read_text())
        states = notebook.python("type(w).get_manager_state(widgets=[w, w.layout])")
        states = {"application/vnd.jupyter.widget-state+json": states}
        document["metadata"]["widgets"] = states
        reopened(notebook, document, trusted=True)
        notebook.appears(20)
        assert notebook.verdict.text_content() == text.verdict(estimate(GRANITE, gpu="L40S"))
        # There is no kernel of it: its controls would move without effect.
        assert "No kernel" in (notebook.widget.get_by_role("note").text_content() or "")
        assert notebook.row("max_seq_len").locator("input[type=text]").is_disabled()
        chart = notebook.widget.locator(".vw-chart")
        chart.focus()
        notebook.page.keyboard.press("Home")
        assert (chart.get_attribute("aria-valuetext") or "").lower().startswith("load: ")
        assert notebook.errors == []
