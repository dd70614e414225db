"""A real JupyterLab, or Notebook 7, and a notebook in it as Playwright sees it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser
from serving import TOKEN, free_port, running
from view import View

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


#: The class of each application, and where it opens a notebook.
APPLICATIONS = {
    "jupyterlab": ("LabApp", "doc/tree"),
    "notebook": ("JupyterNotebookApp", "notebooks"),
}


@contextmanager
def running_lab(folder: Path, application: str = "jupyterlab") -> Iterator[str]:
    """Start JupyterLab or Notebook 7 over `folder`; yield where it opens notebooks."""
    name, path = APPLICATIONS[application]
    asks = folder / ".home" / "settings" / "@jupyterlab" / "apputils-extension"
    asks.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (asks / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    port = free_port()
    options = [
        f"--port={port}",
        "--ip=127.0.0.1",
        "--no-browser",
        "--allow-root",
        f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={folder}",
        f"--{name}.expose_app_in_browser=True",
    ]
    ready = f"/api/status?token={TOKEN}"
    with running(application, options, folder, port=port, ready=ready) as address:
        yield f"{address}/{path}"


#: Whether a notebook is open, and how its cells are run.
READY = "() => window.jupyterapp?.shell.currentWidget?.sessionContext"
RUN = "() => window.jupyterapp.commands.execute('notebook:run-all-cells')"


class Notebook(View):
    """A notebook open in JupyterLab, whose kernel can be asked."""

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

    def run_cells(self) -> None:
        """Run the cells of the notebook again."""
        self.page.evaluate(RUN)

    def saved(self) -> Path:
        """Save the notebook; return its file."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        folder = Path(self.python("__import__('os').getcwd()"))
        return folder / Path(urlsplit(self.page.url).path).name

    def open(self, file: Path) -> None:
        """Open another notebook of the same folder in its place; its cells are not run."""
        address = self.page.url.partition("?")[0].rpartition("/")[0]
        self.page.goto(f"{address}/{file.name}?token={TOKEN}&reset")
        self.page.wait_for_function(READY)

    def drawn(self) -> None:
        """Wait until the first view shows the last report of `w`."""
        revision = self.python("w.report['revision']")
        seen = self.page.locator(f'.vram-widget[data-revision="{revision}"]').first
        seen.wait_for(state="attached", timeout=5000)


def write_notebook(folder: Path, code: str) -> str:
    """Write a notebook of one cell that was never run; return its name."""
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
    return name


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
    name = write_notebook(folder, code)
    context = browser.new_context(viewport={"width": 1240, "height": 1150}, color_scheme=theme)
    page = context.new_page()
    notebook = Notebook(page)
    page.goto(f"{address}/{name}?token={TOKEN}&reset")
    page.wait_for_function(READY)
    page.evaluate(
        """async (theme) => {
            const app = window.jupyterapp;
            await app.restored;
            await app.shell.currentWidget.sessionContext.ready;
            await app.commands.execute("apputils:change-theme", {theme});
        }""",
        f"JupyterLab {theme.capitalize()}",
    )
    notebook.run_cells()
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
