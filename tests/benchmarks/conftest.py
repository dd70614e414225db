"""Benchmarks: ``pytest tests/benchmarks``, with nothing else running. `pytest` leaves them out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "browser"), str(TESTS / "hub")]

import against  # noqa: E402
from chromium import browser, open_notebook  # noqa: E402, F401


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if against.HELD:
        terminalreporter.section("ratios")
    for line in against.HELD:
        terminalreporter.write_line(line)
