"""What an import brings along: nothing heavy."""

from __future__ import annotations

import subprocess
import sys

#: Needed for some things only, and slow to import.
HEAVY = ["huggingface_hub", "matplotlib", "numpy", "pandas", "peft", "torch", "transformers"]

LOADED = f"import sys, vram_widget; print(*(set({HEAVY!r}) & sys.modules.keys()))"


def test_nothing_heavy_is_imported() -> None:
    run = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True)
    assert run.stdout.split() == []
