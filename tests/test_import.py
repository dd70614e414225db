"""What a person waits for first: the import."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

#: Milliseconds of processor time that vram_widget may add to the import of anywidget. The best of
#: several interpreters counts, so that a busy machine does not fail it.
IMPORT_MS = 60
INTERPRETERS = 7

IMPORT = """
import time
import anywidget
start = time.process_time()
import vram_widget
print(1000 * (time.process_time() - start))
"""

#: Needed for some things only, and slow to import.
HEAVY = ["huggingface_hub", "matplotlib", "numpy", "pandas", "peft", "torch", "transformers"]

LOADED = f"import sys, vram_widget; print(*(set({HEAVY!r}) & sys.modules.keys()))"


def fresh(script: str, bytecode: Path) -> str:
    """Run a script in a new interpreter that keeps its bytecode; return what it prints."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(bytecode)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout


def test_the_import_is_quick(tmp_path: Path) -> None:
    fresh(IMPORT, tmp_path)
    times = [float(fresh(IMPORT, tmp_path)) for _ in range(INTERPRETERS)]
    print(f"import: {min(times):.0f} ms at best, {statistics.median(times):.0f} at the median")
    assert min(times) <= IMPORT_MS


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    assert fresh(LOADED, tmp_path).split() == []
