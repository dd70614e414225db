"""A real JupyterLab on a free port, and a notebook in it as Playwright sees it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page

CHROMIUM = "/usr/bin/chromium"
#: Nothing that a browser does of its own accord: the tests count every request.
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
]
TOKEN = "test"
START_SECONDS = 60


@contextmanager
def running_lab(folder: Path) -> Iterator[str]:
    """Start JupyterLab over `folder`, yield its address, and end it."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    home = folder / ".jupyter"
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    options = [
        f"--port={port}",
        "--ip=127.0.0.1",
        "--no-browser",
        "--allow-root",
        f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={folder}",
        "--LabApp.expose_app_in_browser=True",
    ]
    asks = home / "settings" / "@jupyterlab" / "apputils-extension"
    asks.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (asks / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    log = (folder / "lab.log").open("w")
    command = [sys.executable, "-m", "jupyterlab", *options]
    server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        wait_for(f"{address}/api/status?token={TOKEN}", server)
        yield address
    finally:
        server.terminate()
        server.wait(20)
        log.close()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Return as soon as `url` answers."""
    end = time.monotonic() + START_SECONDS
    while not answers(url):
        if server.poll() is not None:
            raise RuntimeError("JupyterLab ended before it answered")
        if time.monotonic() > end:
            raise TimeoutError(f"JupyterLab did not answer within {START_SECONDS} s")
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


class Notebook:
    """A notebook open in JupyterLab, with what its page logged and asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._logged)
        page.on("request", lambda request: self.requests.append(request.url))

    def _logged(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    @property
    def widget(self) -> Locator:
        """The root of the first view of the widget."""
        return self.page.locator(".vram-widget").first

    def row(self, field: str) -> Locator:
        """The row of a field's control."""
        return self.widget.locator(f'[data-field="{field}"]')

    def python(self, expression: str) -> Any:
        """Evaluate an expression of JSON types in the notebook's kernel."""
        text = self.page.evaluate(
            """async (code) => {
                const panel = window.jupyterapp.shell.currentWidget;
                const kernel = panel.sessionContext.session.kernel;
                const future = kernel.requestExecute({code, store_history: false});
                let text = "";
                future.onIOPub = ({content}) => {
                    text += content.text ?? (content.evalue ? "ERROR " + content.evalue : "");
                };
                await future.done;
                return text;
            }""",
            f"import json; print(json.dumps({expression}))",
        )
        return json.loads(text)

    def becomes(self, expression: str, value: Any) -> bool:
        """Whether an expression soon has a value: the last move of a drag is sent a little late."""
        end = time.monotonic() + 5
        while (found := self.python(expression)) != value and time.monotonic() < end:
            time.sleep(0.05)
        return bool(found == value)

    def run(self, statement: str) -> None:
        """Run a statement in the notebook's kernel."""
        self.python(f"exec({statement!r})")

    def drawn(self) -> None:
        """Wait until the first view shows the last report of `w`."""
        revision = self.python("w.report['revision']")
        seen = self.page.locator(f'.vram-widget[data-revision="{revision}"]').first
        seen.wait_for(state="attached", timeout=5000)


@contextmanager
def open_notebook(
    browser: Browser,
    address: str,
    folder: Path,
    code: str,
    *,
    theme: str = "light",
    width: int = 1200,
) -> Iterator[Notebook]:
    """Run `code` as the one cell of a new notebook."""
    name = f"{time.monotonic_ns()}.ipynb"
    cell = {"cell_type": "code", "execution_count": None, "id": "a", "metadata": {}, "outputs": []}
    document = {
        "cells": [{**cell, "source": code}],
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python", "language": "python"}
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (folder / name).write_text(json.dumps(document))
    context = browser.new_context(viewport={"width": 1240, "height": 1150}, color_scheme=theme)
    page = context.new_page()
    notebook = Notebook(page)
    page.goto(f"{address}/doc/tree/{name}?token={TOKEN}&reset")
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext")
    page.evaluate(
        """async (theme) => {
            const app = window.jupyterapp;
            await app.restored;
            await app.shell.currentWidget.sessionContext.ready;
            await app.commands.execute("apputils:change-theme", {theme});
            await app.commands.execute("notebook:run-all-cells");
        }""",
        f"JupyterLab {theme.capitalize()}",
    )
    failure = page.locator('[data-mime-type="application/vnd.jupyter.stderr"]')
    notebook.widget.locator(".vw-area").first.or_(failure.first).wait_for(
        state="attached", timeout=60_000
    )
    if failure.count():
        raise RuntimeError(failure.first.text_content())
    try:
        yield notebook
    finally:
        context.close()
