"""Chromium, a JupyterLab, and a Hub that takes its time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import browser, open_notebook  # noqa: F401


@pytest.fixture
def hub_of_slow_models() -> Iterator[str]:
    """The address of a Hub on loopback that takes its time over a/new, and longer over a/slow."""
    sys.path.append(str(Path(__file__).parents[1] / "hub"))
    from models import llama_tensors, sharded
    from server import Hub

    hub = Hub()
    files = sharded(llama_tensors(), 4)
    for name, seconds in (("a/new", 0.3), ("a/slow", 3)):
        hub.add(name, files)
        hub.faults[f"{name}/resolve"] = [["slow", seconds]] * 3
    yield hub.endpoint
    hub.close()
