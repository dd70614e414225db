"""What a person waits for first: the import, the catalogue, a model that was looked up before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest
from against import ROUNDS, hold, keeping_bytecode, numbers_of
from models import llama_tensors, sharded
from server import Hub

IMPORT = """
import time
begun = time.process_time()
import anywidget
between = time.process_time()
import vram_widget
print(between - begun, time.process_time() - between)
"""

CATALOGUE = """
import json, time
from importlib import resources
import vram_widget.model.catalog as catalog

def timed(action):
    begun = time.process_time()
    action()
    return time.process_time() - begun

def parsed():
    json.loads(resources.files(catalog.__package__).joinpath("catalog.json").read_text("utf-8"))

parsed()
first = timed(lambda: catalog.lookup("Qwen/Qwen3-8B"))
print(min(timed(parsed) for _ in range(5)), first)
"""

LOOK_UP = """
import time
from vram_widget.model import hub
begun = time.process_time()
hub.read("org/many")
print(time.process_time() - begun)
"""


def test_import(tmp_path: Path) -> None:
    """At most 60 ms on an idle core, where anywidget takes 130."""
    environment = keeping_bytecode(tmp_path)
    numbers_of(IMPORT, environment)
    rounds = [numbers_of(IMPORT, environment) for _ in range(2 * ROUNDS)]
    found = median(mine / anywidget for anywidget, mine in rounds)
    hold("import vram_widget", found, "import anywidget", 0.46)


def test_the_first_model_of_the_catalogue() -> None:
    rounds = [numbers_of(CATALOGUE) for _ in range(ROUNDS)]
    found = median(first / parsed for parsed, first in rounds)
    hold("the first model of the catalogue", found, "its JSON", 2)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    server.add("org/many", sharded(llama_tensors(layers=80), 30))
    yield server
    server.close()


def test_a_model_looked_up_before(hub: Hub, tmp_path: Path) -> None:
    """In a process of its own; a model of 30 files. At most 50 ms on an idle core."""
    rounds = []
    for number in range(ROUNDS):
        environment = {
            **os.environ,
            **keeping_bytecode(tmp_path / "bytecode"),
            "HF_HOME": str(tmp_path / str(number)),
            "HF_ENDPOINT": hub.endpoint,
        }
        (first,), (again,) = numbers_of(LOOK_UP, environment), numbers_of(LOOK_UP, environment)
        rounds.append(again / first)
    hold("a look-up that is remembered", median(rounds), "the same from the Hub", 0.05)
