"""Look-ups in the background: progress, cancelling, and the last wanted answer."""

import threading
import time

import pytest
from models import llama_tensors, shapes, sharded, single

from vram_widget.model import hub as reader
from vram_widget.model.hub_errors import ModelNotFound
from vram_widget.widget.lookup import Lookup

pytestmark = pytest.mark.usefixtures("forget")


def test_progress_by_file_and_the_answer(hub):
    hub.add("org/many", sharded(llama_tensors(), 4))
    seen = []
    lookup = Lookup(reader.read, seen.append)
    lookup.start("org/many")
    lookup.wait(10)
    assert [step.finished for step in seen] == [False] * (len(seen) - 1) + [True]
    assert {step.file for step in seen} >= {"config.json", "model.safetensors.index.json"}
    assert seen[-1].found.tensors == shapes(llama_tensors())


def test_a_failure_is_an_answer(hub):
    seen = []
    lookup = Lookup(reader.read, seen.append)
    lookup.start("org/none")
    lookup.wait(10)
    assert isinstance(seen[-1].error, ModelNotFound)
    assert seen[-1].finished


def test_starting_and_cancelling_do_not_wait():
    gate, ended = threading.Event(), threading.Event()

    def read(model_path, progress, cancelled):
        gate.wait(60)
        ended.set()

    lookup = Lookup(read, lambda looking: None)
    lookup.start("org/slow")
    lookup.cancel()
    assert not ended.is_set()
    gate.set()


def test_nothing_is_reported_once_cancelled(hub):
    hub.add("org/slow", single(llama_tensors()))
    hub.faults["config.json"] = [("slow", 0.3)]
    seen = []
    lookup = Lookup(reader.read, seen.append)
    lookup.start("org/slow")
    lookup.cancel()
    lookup.wait(10)
    assert seen == []


def test_the_last_wanted_answer_wins(hub):
    """The first model is slow; by the time it would be there, another is wanted."""
    hub.add("org/slow", single(llama_tensors(layers=2)))
    hub.add("org/fast", single(llama_tensors(layers=3)))
    hub.faults["org/slow/resolve/main"] = [("slow", 0.5)]
    seen = []
    lookup = Lookup(reader.read, seen.append)
    lookup.start("org/slow")
    lookup.start("org/fast")
    lookup.wait(10)
    time.sleep(0.8)
    assert {step.model_path for step in seen} == {"org/fast"}
    assert seen[-1].found.tensors == shapes(llama_tensors(layers=3))


def test_many_at_once_end_with_the_last():
    """Each read takes its own time; whatever ends first, what started last is reported."""
    seen = []
    gate = threading.Event()

    def read(model_path, progress, cancelled):
        gate.wait(5)
        progress(1, 1, model_path)
        return model_path

    lookup = Lookup(read, seen.append)
    for number in range(50):
        lookup.start(str(number))
    gate.set()
    lookup.wait(10)
    assert {step.model_path for step in seen} == {"49"}
    assert seen[-1].found == "49"


def test_a_callback_may_start_the_next():
    seen = []

    def on_change(looking):
        seen.append(looking)
        if looking.found == "first":
            lookup.start("second")

    lookup = Lookup(lambda model_path, progress, cancelled: model_path, on_change)
    lookup.start("first")
    until = time.monotonic() + 5
    while len(seen) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert [step.found for step in seen] == ["first", "second"]
