"""Settings of another program, put into the widget in a real JupyterLab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from chromium import Open
    from lab import Notebook
    from playwright.sync_api import Locator

pytest.importorskip("playwright", reason="playwright is not installed")

SHOW = """
from vram_widget.widget import VRAMWidget
w = VRAMWidget("ibm-granite/granite-3.3-2b-instruct", gpu="L40S")
w
"""
SETTINGS = """base_model: Qwen/Qwen3-8B
adapter: lora
lora_r: 8
lora_target_linear: true
micro_batch_sise: 4
"""


@pytest.fixture(scope="module")
def notebook(open_notebook: Open) -> Iterator[Notebook]:
    with open_notebook(SHOW) as notebook:
        yield notebook


@pytest.fixture
def panel(notebook: Notebook) -> Locator:
    """The panel, open and empty, over the configuration that the widget began with."""
    notebook.run("w._become(VRAMWidget(gpu='L40S').replace())")
    notebook.drawn()
    notebook.errors.clear()
    panel = notebook.widget.locator(".vw-import")
    if panel.get_attribute("open") is None:
        panel.locator("summary").press("Enter")
    panel.get_by_role("textbox").fill("")
    return panel


def in_focus(notebook: Notebook) -> str:
    """The tag of what has the focus."""
    return str(notebook.page.evaluate("() => document.activeElement.tagName"))


def test_by_keyboard_alone(notebook: Notebook, panel: Locator) -> None:
    keys = notebook.page.keyboard
    cells, before = notebook.page.locator(".jp-Cell").count(), notebook.python("w.config")
    panel.locator("summary").press("Escape")
    assert panel.get_attribute("open") is None
    keys.press("Enter")
    panel.get_by_role("textbox").wait_for()
    notebook.page.wait_for_function("() => document.activeElement.tagName === 'TEXTAREA'")
    keys.type(SETTINGS)
    keys.press("Control+z")  # of the text
    keys.press("Control+Shift+z")
    assert panel.get_by_role("textbox").input_value() == SETTINGS
    keys.press("Control+Enter")
    panel.get_by_role("heading").wait_for(timeout=5000)
    assert notebook.python("w.config") == before
    keys.press("Control+Enter")
    assert notebook.becomes("[w.model_path, w.lora_r]", ["Qwen/Qwen3-8B", 8])
    notebook.drawn()
    assert "In the controls" in panel.get_by_role("status").inner_text()
    keys.press("Escape")
    assert panel.get_attribute("open") is None
    assert in_focus(notebook) == "SUMMARY"
    keys.press("Control+z")
    assert notebook.becomes("w.config", before)
    notebook.drawn()
    assert notebook.page.locator(".jp-Cell").count() == cells
    assert notebook.errors == []


def test_what_is_shown_is_what_changes(notebook: Notebook, panel: Locator) -> None:
    panel.get_by_role("textbox").fill(SETTINGS)
    panel.get_by_role("button", name="Read").click()
    changes = panel.get_by_role("list", name="What changes")
    changes.wait_for(timeout=5000)
    assert "LoRA rank 16 → 8" in changes.inner_text()
    assert "micro_batch_size" in panel.get_by_role("list", name="Not counted").inner_text()
    panel.get_by_role("button", name="Put into the controls").click()
    assert notebook.becomes("w.lora_r", 8)
    notebook.drawn()
    assert notebook.row("lora_r").locator(".vw-number").input_value() == "8"
    assert notebook.python("w.gpu") == "L40S"
    mark = notebook.widget.locator(".vw-uncounted")
    assert mark.inner_text() == notebook.python("w.report['uncounted']['words']")
    mark.press("Enter")
    focused = notebook.page.evaluate("() => document.activeElement.innerText")
    assert "Did you mean 'micro_batch_size'?" in focused
    notebook.widget.locator('[data-way="undo"]').click()
    mark.wait_for(state="hidden", timeout=5000)
    assert notebook.python("w.lora_r") == 16


def test_a_file_is_read_at_once(notebook: Notebook, panel: Locator, tmp_path: Path) -> None:
    file = tmp_path / "lora.yaml"
    file.write_text(SETTINGS)
    with notebook.page.expect_file_chooser() as chooser:
        panel.get_by_role("button", name="Choose a file").press("Enter")
    chooser.value.set_files(file)
    panel.get_by_text("lora.yaml, read as settings of Axolotl").wait_for(timeout=5000)
    assert panel.get_by_role("textbox").input_value() == SETTINGS


def test_a_file_can_be_dropped(notebook: Notebook, panel: Locator) -> None:
    transfer = notebook.page.evaluate_handle(
        """(text) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([text], "dropped.yaml"));
            return transfer;
        }""",
        SETTINGS,
    )
    panel.get_by_role("textbox").dispatch_event("drop", {"dataTransfer": transfer})
    panel.get_by_text("dropped.yaml, read as settings of Axolotl").wait_for(timeout=5000)


def test_an_error_stands_beside_what_was_typed(notebook: Notebook, panel: Locator) -> None:
    before, text = notebook.python("w.config"), f"{SETTINGS}rl: dpo\n"
    box = panel.get_by_role("textbox")
    box.fill(text)
    box.press("Control+Enter")
    alert = panel.get_by_role("alert")
    alert.wait_for(timeout=5000)
    assert "rl: 'dpo' is a run of" in alert.inner_text()
    assert box.input_value() == text
    assert notebook.python("w.config") == before
    box.fill("/etc/hostname")  # a text is no path
    box.press("Control+Enter")
    alert.get_by_text("Give settings").wait_for(timeout=5000)
    assert notebook.findings() == []
    assert notebook.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(open_notebook: Open, theme: str) -> None:
    with open_notebook(SHOW, theme=theme) as notebook:
        notebook.page.locator(f'.vram-widget[data-theme="{theme}"]').wait_for(timeout=5000)
        panel = notebook.widget.locator(".vw-import")
        panel.locator("summary").click()
        assert notebook.findings() == []
        panel.get_by_role("textbox").fill(SETTINGS)
        panel.get_by_role("button", name="Read").click()
        panel.get_by_role("heading").wait_for(timeout=5000)
        assert notebook.findings() == []
        panel.get_by_role("button", name="Put into the controls").click()
        notebook.widget.locator(".vw-uncounted").click(timeout=5000)
        assert notebook.findings() == []
        assert notebook.errors == []
