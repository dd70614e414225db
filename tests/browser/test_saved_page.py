"""The saved page: opened from a file, offline, it shows what the widget showed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vram_widget import VRAMWidget

pytest.importorskip("playwright", reason="playwright is not installed")

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from view import View

    Open = Callable[..., AbstractContextManager[View]]

GRANITE = "ibm-granite/granite-3.3-2b-instruct"


@pytest.fixture
def saved(browser: Browser, tmp_path: Path) -> Open:
    """A function that saves a widget and opens the file in a browser without a network."""

    @contextmanager
    def open_page(widget: VRAMWidget, theme: str = "light") -> Iterator[View]:
        from view import View

        file = tmp_path / "plan.html"
        widget.to_html(file)
        context = browser.new_context(
            viewport={"width": 1300, "height": 1100}, color_scheme=theme, offline=True
        )
        view = View(context.new_page())
        view.page.goto(file.as_uri())
        view.appears(10)
        try:
            yield view
        finally:
            context.close()

    return open_page


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_opens_offline_and_can_be_read(saved: Open, theme: str) -> None:
    widget = VRAMWidget(GRANITE, gpu="L40S", micro_batch_size=4)
    with saved(widget, theme) as view:
        assert view.verdict.text_content() == widget.report["verdict"]["words"]
        assert view.page.title() == "granite-3.3-2b-instruct · full fine-tuning · 1 × L40S"
        view.page.locator(f'.vram-widget[data-theme="{theme}"]').wait_for(timeout=5000)
        view.widget.locator(".vw-export summary").click()
        assert '"micro_batch_size": 4' in json.dumps(widget.config)
        assert "'micro_batch_size': 4" in (view.widget.locator(".vw-code").text_content() or "")
        assert view.findings() == []
        assert view.errors == []
        assert [url.split(":")[0] for url in view.requests] == ["file"]


def test_the_chart_is_read_by_pointer_and_by_keyboard(saved: Open) -> None:
    with saved(VRAMWidget(GRANITE, gpu="L40S")) as view:
        chart = view.widget.locator(".vw-chart")
        chart.hover()
        assert "GiB" in view.widget.locator(".vw-tip").inner_text()
        chart.focus()
        view.page.keyboard.press("Home")
        assert (chart.get_attribute("aria-valuetext") or "").startswith("Load: ")


def test_nothing_in_a_page_can_be_changed(saved: Open) -> None:
    with saved(VRAMWidget(GRANITE, gpu="L40S")) as view:
        assert "No kernel" in view.widget.get_by_role("note").inner_text()
        for control in view.widget.locator("form :is(input, select)").all():
            assert control.is_disabled()
        view.widget.locator(".vw-advice h3").wait_for()
        names = [each.inner_text() for each in view.widget.get_by_role("button").all()]
        assert "All settings" in names
        assert not [name for name in names if "Apply" in name or "Undo" in name]
        assert view.widget.locator(".vw-export").count() == 1
        assert view.widget.locator(".vw-import").count() == 0


def test_a_model_id_is_text_in_a_page_too(saved: Open, tmp_path: Path) -> None:
    folder = tmp_path / "<" / "script><script>document.title='taken'<" / "script><img src=x>"
    folder.mkdir(parents=True)
    config = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128}
    config |= {"num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100}
    (folder / "config.json").write_text(json.dumps(config))
    with saved(VRAMWidget(str(folder), gpu="L40S")) as view:
        assert view.widget.locator(".vw-title").text_content() == "script><img src=x>"
        assert view.page.title().startswith("script><img src=x> · ")
        assert view.page.locator("img").count() == 0
        assert view.errors == []
