"""The README's two commands, to the letter: ``python tests/readme_commands.py``.

Each runs in a copy of the sources and in an environment with nothing else in it, so without
PyTorch. The first must end in a browser with the notebook, whose first cell shows the widget; the
second must pass, and what it skips must say for want of what. The browser is this Python's.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from install import ROOT, clean_copy, open_folder, run, works

sys.path.append(str(Path(__file__).with_name("browser")))

from lab import CHROMIUM, FLAGS
from playwright.sync_api import sync_playwright
from serving import own_folders
from view import View

NOTEBOOK = "notebooks/quickstart.ipynb"

#: What a test may be skipped for want of, by a piece of its reason. All else is there: a browser,
#: a compiler and the registry as well.
LACKING = {
    "PyTorch": r"\btorch\b|'\.\[trace\]'",
    "transformers": r"\btransformers\b",
    "PEFT": r"\bpeft\b",
    "accelerate": r"\baccelerate\b",
    "TRL": r"\btrl\b",
    "DeepSpeed": r"\bdeepspeed\b",
    "pydantic": r"\bpydantic\b",
    "npm ci": r"\bnpm ci\b",
    "mypy": r"\bmypy\b",
}

#: Seconds that the first command may take until it opens a browser.
PATIENCE = 900
#: Milliseconds that the browser is given, on however busy a machine.
WAIT_MS = 180_000


def main() -> None:
    """Run both; end at the first thing that is wrong."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    see, test = commands((ROOT / "README.md").read_text("utf-8"))
    with open_folder() as folder:
        seen(see, clean_copy(folder / "see"), folder)
        tested(test, clean_copy(folder / "test"), folder)


def commands(readme: str) -> list[str]:
    """Return the lines of the README's first block of shell, as they are."""
    block = readme.partition("```bash\n")[2].partition("```")[0]
    lines = [line.partition("  #")[0].rstrip() for line in block.splitlines()]
    assert len(lines) == 2, lines
    assert NOTEBOOK in lines[0]
    assert lines[1].endswith("&& pytest")
    return lines


@contextmanager
def running(
    command: str,
    source: Path,
    folder: Path,
    variables: Mapping[str, str] | None = None,
    output: int | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a fresh environment, and end with it all that it started."""
    print(f"\n$ {command}", flush=True)
    home = folder / f"{source.name}-env"
    run([sys.executable, "-m", "venv", home])
    assert not works([home / "bin" / "python", "-c", "import torch"])
    kept = {k: v for k, v in os.environ.items() if k not in ("CI", "PYTHONPATH", "VIRTUAL_ENV")}
    own = str(Path(sys.executable).parent) if sys.prefix != sys.base_prefix else None
    places = [each for each in os.environ["PATH"].split(os.pathsep) if each != own]
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=source,
        env={
            **kept,
            "PATH": os.pathsep.join([str(home / "bin"), *places]),
            **(variables or {}),
        },
        stdout=output,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def seen(command: str, source: Path, folder: Path) -> None:
    """Run the first command and, in the browser that it opens, the first cell of the notebook."""
    # A browser that writes down what it is asked to open.
    address, opener = folder / "address", folder / "browser"
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" >{address}.new && mv {address}.new {address}\n')
    opener.chmod(0o755)
    variables = {**own_folders(folder / "home"), "BROWSER": f"{opener} %s"}
    settings = Path(variables["JUPYTER_CONFIG_DIR"])
    settings.mkdir(parents=True)
    allowed = {"ServerApp": {"allow_root": True}}  # CI is root, which Jupyter asks about
    (settings / "jupyter_server_config.json").write_text(json.dumps(allowed))
    with running(command, source, folder, variables) as process:
        until = time.monotonic() + PATIENCE
        while not address.exists():
            assert process.poll() is None, f"{command} ended with {process.returncode}"
            assert time.monotonic() < until, f"{command} opened no browser"
            time.sleep(0.2)
        verdict = first_cell(address.read_text())
    (cell, *_) = json.loads((source / NOTEBOOK).read_text("utf-8"))["cells"]
    committed = "".join(cell["outputs"][0]["data"]["text/plain"]).splitlines()[1]
    assert committed.startswith(verdict), (verdict, committed)
    print(f"The first cell shows the widget, and its verdict: {verdict}", flush=True)


def first_cell(address: str) -> str:
    """Open what the command opened, press Shift+Enter, and return the verdict of the widget."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        view = View(page)
        page.goto(address)
        # Who presses sooner than the kernel is there has pressed for nothing, in any notebook.
        name = page.locator(".jp-Toolbar-kernelName", has_text="Python")
        name.wait_for(timeout=WAIT_MS)
        idle = page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
        idle.first.wait_for(timeout=WAIT_MS)
        page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
        assert not view.widget.count()
        page.keyboard.press("Shift+Enter")
        failure = page.locator('[data-mime-type="application/vnd.jupyter.stderr"]').first
        view.widget.locator(".vw-area").first.or_(failure).wait_for(
            state="attached", timeout=WAIT_MS
        )
        assert not failure.count(), failure.text_content()
        verdict = view.verdict.text_content()
        assert verdict
        browser.close()
    return verdict


def tested(command: str, source: Path, folder: Path) -> None:
    """Run the second command, and hold what it prints to all passed and every skip explained."""
    with running(command, source, folder, output=subprocess.PIPE) as process:
        assert process.stdout
        printed = []
        for line in process.stdout:
            print(line, end="", flush=True)
            printed.append(line)
        assert process.wait() == 0, f"{command} ended with {process.returncode}"
    passed, wanting = result(printed)
    for name, count in wanting.most_common():
        print(f"{count:6,} skipped for want of {name}")
    print(f"{passed:6,} passed", flush=True)


def result(printed: list[str]) -> tuple[int, Counter[str]]:
    """Return how many tests passed, and how many were skipped for want of what."""
    counts = re.findall(r"(\d+) ([a-z]+)", printed[-1])
    outcome = {word: int(count) for count, word in counts}
    assert outcome["passed"] > 0
    assert not outcome.keys() & {"failed", "error", "errors", "xfailed", "xpassed"}, printed[-1]
    wanting: Counter[str] = Counter()
    for line in printed:
        if found := re.match(r"SKIPPED \[(\d+)\] (.+)", line):
            names = [name for name, piece in LACKING.items() if re.search(piece, found[2])]
            assert names, f"skipped for want of what? {found[2]}"
            wanting[names[0]] += int(found[1])
    assert sum(wanting.values()) == outcome.get("skipped", 0), "skips whose reasons are not shown"
    assert wanting["PyTorch"], "PyTorch is there"
    return outcome["passed"], wanting


if __name__ == "__main__":
    main()
