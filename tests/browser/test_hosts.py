"""The widget in Notebook 7, Voila and marimo: it appears, and a moved control moves the figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vram_widget import estimate
from vram_widget.show import text

pytest.importorskip("playwright", reason="playwright is not installed")

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from view import View

    Host = Callable[[Browser, Path], AbstractContextManager[View]]

GRANITE = "ibm-granite/granite-3.3-2b-instruct"
SHOW = f"""
from vram_widget import VRAMWidget
w = VRAMWidget({GRANITE!r}, gpu="L40S")
w
"""
MARIMO = f"""
import marimo

app = marimo.App()


@app.cell
def _():
    from vram_widget import VRAMWidget

    VRAMWidget({GRANITE!r}, gpu="L40S")
    return
"""


@contextmanager
def notebook_7(browser: Browser, folder: Path) -> Iterator[View]:
    import lab

    with (
        lab.running_lab(folder, "notebook") as address,
        lab.open_notebook(browser, address, folder, SHOW) as notebook,
    ):
        yield notebook


@contextmanager
def voila(browser: Browser, folder: Path) -> Iterator[View]:
    import lab
    from serving import free_port, running

    name, port = lab.write_notebook(folder, SHOW), free_port()
    options = [f"--port={port}", "--ip=127.0.0.1", "--no-browser", name]
    with running("voila", options, folder, port=port, ready="/voila/static/voila.js") as address:
        yield from opened(browser, address)


@contextmanager
def marimo(browser: Browser, folder: Path) -> Iterator[View]:
    from serving import free_port, running

    (folder / "app.py").write_text(MARIMO)
    port = free_port()
    options = ["run", "app.py", "--headless", "--no-token", "--host=127.0.0.1", f"--port={port}"]
    with running("marimo", options, folder, port=port, ready="/health") as address:
        yield from opened(browser, address)


def opened(browser: Browser, address: str) -> Iterator[View]:
    from view import View

    context = browser.new_context(viewport={"width": 1240, "height": 1150})
    view = View(context.new_page())
    view.page.goto(address)
    view.appears()
    try:
        yield view
    finally:
        context.close()


#: What a host logs on any page, with no widget at all.
ITS_OWN = {
    "notebook": ["Cannot read properties of undefined (reading 'schema')"],
    "voila": [
        "Failed to load resource: net::ERR_NAME_NOT_RESOLVED",  # icons from a CDN
        "The getter for the shared module is not a function",  # an extension of Notebook 7
    ],
    "marimo": [],
}


@pytest.mark.parametrize(
    ("package", "host"), [("notebook", notebook_7), ("voila", voila), ("marimo", marimo)]
)
def test_a_moved_control_moves_the_figure(
    browser: Browser, tmp_path: Path, package: str, host: Host
) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed")
    with host(browser, tmp_path) as view:
        view.verdict.get_by_text(text.verdict(estimate(GRANITE, gpu="L40S"))).wait_for()
        view.row("max_seq_len").locator(".vw-slider").focus()
        view.page.keyboard.press("ArrowRight")
        longer = estimate(GRANITE, gpu="L40S", max_seq_len=4096)
        view.verdict.get_by_text(text.verdict(longer)).wait_for(timeout=5000)
        view.row("training_method").locator("label", has_text="QLoRA").click()
        smaller = estimate(GRANITE, gpu="L40S", max_seq_len=4096, training_method="qlora")
        view.verdict.get_by_text(text.verdict(smaller)).wait_for(timeout=5000)
        view.page.keyboard.press("Control+z")
        view.verdict.get_by_text(text.verdict(longer)).wait_for(timeout=5000)
        view.widget.locator(".vw-advice:not(.vw-stale)").wait_for(timeout=10_000)
        assert view.findings() == []
        own = ITS_OWN[package]
        assert [error for error in view.errors if not any(part in error for part in own)] == []
