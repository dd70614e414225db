"""The built front end: small, of one piece, and tested by its own tests."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "vram_widget" / "static"


def test_the_bundle_is_small() -> None:
    assert sum(file.stat().st_size for file in STATIC.iterdir()) < 64_000


def test_nothing_in_the_bundle_names_another_machine() -> None:
    for file in STATIC.iterdir():
        addresses = set(re.findall(r"(?:https?|wss?)://[^\"'`\s)]+", file.read_text("utf-8")))
        assert addresses <= {"http://www.w3.org/2000/svg"}, file.name
        assert "@import" not in file.read_text("utf-8")


def test_the_typescript_tests_pass() -> None:
    if not (ROOT / "js" / "node_modules" / "vitest").exists():
        if os.environ.get("CI") == "true":
            pytest.fail("run npm ci in js/ first: in CI the front end's tests are run too")
        pytest.skip("vitest is not installed: run npm ci in js/")
    run = subprocess.run(["npm", "test"], cwd=ROOT / "js", capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
