"""Fixtures: Chromium and a JupyterLab, for one module. Meanwhile no other event loop can run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from lab import Notebook
    from playwright.sync_api import Browser

    Open = Callable[..., AbstractContextManager[Notebook]]

CHROMIUM = "/usr/bin/chromium"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{CHROMIUM} is missing: in CI the widget is tested in a browser")
        pytest.skip(f"{CHROMIUM} is missing")
    from lab import FLAGS
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_notebook(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """A function that runs a cell's code in a new notebook of one running JupyterLab."""
    import lab

    folder = tmp_path_factory.mktemp("lab")
    with lab.running_lab(folder) as address:
        yield partial(lab.open_notebook, browser, address, folder)
