"""A model named in the widget's controls, looked up beside the notebook."""

from __future__ import annotations

import asyncio
import time

import pytest
from models import llama_tensors, sharded, single

from vram_widget.errors import ModelError
from vram_widget.estimate.estimate import estimate
from vram_widget.widget import VRAMWidget

GRANITE = "ibm-granite/granite-3.3-2b-instruct"
SECONDS = 20


@pytest.fixture(autouse=True)
def found(monkeypatch):
    """What is found on the Hub in a test is forgotten after it."""
    monkeypatch.setattr("vram_widget.model.load._found", {})


async def until(true):
    """Let the loop run until something is true."""
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, "still not true"
        await asyncio.sleep(0.005)


def test_progress_by_file_and_then_the_estimate(hub):
    hub.add("a/new", sharded(llama_tensors(), 4))
    hub.faults["safetensors"] = [["slow", 0.1]] * 4
    widget = VRAMWidget(GRANITE, gpu="L40S")
    assert widget.lookup is None
    seen = []
    widget.observe(lambda change: seen.append(change["new"]), "lookup")

    async def kernel():
        before = widget.report
        widget.set_state({"model_path": "a/new"})
        assert widget.model_path == GRANITE
        assert widget.report["timeline"] == before["timeline"]
        assert widget.report["revision"] > before["revision"]  # the front end waits for an answer
        widget.set_state({"micro_batch_size": 2})  # the notebook is free meanwhile
        assert widget.lookup["model_path"] == "a/new"
        await until(lambda: widget.lookup is None)

    asyncio.run(kernel())
    assert widget.model_path == "a/new"
    assert widget.report["errors"] == {}
    assert widget.report["expected"] == estimate(**widget.config).expected
    files = [each["file"] for each in seen if each]
    assert files[0] == ""
    assert "model-00004-of-00004.safetensors" in files
    assert [each["done"] for each in seen if each] == sorted(e["done"] for e in seen if e)


def test_cancelled_it_is_as_if_it_had_not_been_named(hub):
    hub.add("a/new", single(llama_tensors()))
    hub.faults["a/new"] = [["slow", 0.3]]
    widget = VRAMWidget(GRANITE, gpu="L40S")
    sent = []

    async def kernel():
        widget.set_state({"model_path": "a/new"})
        widget.send_state = lambda key=None: sent.append(key)
        widget._handle_custom_msg({"type": "cancel"}, [])
        assert widget.lookup is None
        await asyncio.sleep(0.6)

    asyncio.run(kernel())
    assert widget.model_path == GRANITE
    assert "model_path" in sent  # so that the box shows again what is estimated
    assert widget.report["errors"] == {}


@pytest.mark.parametrize("later", [{"model_path": "Qwen/Qwen3-8B"}, {"model_path": "a/quick"}])
def test_the_last_model_named_wins(hub, later):
    hub.add("a/slow", single(llama_tensors()))
    hub.add("a/quick", single(llama_tensors(layers=2), num_hidden_layers=2))
    hub.faults["a/slow"] = [["slow", 0.4]]
    widget = VRAMWidget(GRANITE, gpu="L40S")

    async def kernel():
        widget.set_state({"model_path": "a/slow"})
        widget.set_state(later)
        await until(lambda: widget.lookup is None)
        await asyncio.sleep(0.6)

    asyncio.run(kernel())
    assert widget.config["model_path"] == later["model_path"]


def test_a_model_set_in_python_ends_the_look_up(hub):
    hub.add("a/slow", single(llama_tensors()))
    hub.faults["a/slow"] = [["slow", 0.3]]
    widget = VRAMWidget(GRANITE, gpu="L40S")

    async def kernel():
        widget.set_state({"model_path": "a/slow"})
        widget.model_path = "Qwen/Qwen3-8B"
        assert widget.lookup is None
        await asyncio.sleep(0.5)

    asyncio.run(kernel())
    assert widget.model_path == "Qwen/Qwen3-8B"


def test_an_error_is_said_in_place(hub):
    hub.add("a/gated", single(llama_tensors()), gated=True)
    widget = VRAMWidget(GRANITE, gpu="L40S")
    chart = widget.report["timeline"]

    async def kernel():
        for name in ("a/gated", "nobody/nothing"):
            widget.set_state({"model_path": name})
            await until(lambda: widget.lookup is None)
            assert name in widget.report["errors"]["model_path"]
            assert widget.report["timeline"] == chart

    asyncio.run(kernel())
    assert widget.model_path == GRANITE


def test_python_waits_for_the_model_it_names(hub):
    hub.add("a/new", single(llama_tensors()))
    assert VRAMWidget("a/new", gpu="L40S").estimate.num_parameters > 0
    with pytest.raises(ModelError, match="nobody/nothing"):
        VRAMWidget("nobody/nothing")


SETTINGS = "model_name_or_path: a/new\nuse_peft: true\nlora_r: 8\nmax_length: 4096\n"


def imports(widget):
    for request in ({"type": "import", "text": SETTINGS, "name": ""}, {"type": "put"}):
        widget._handle_custom_msg(request, [])


def test_imported_settings_wait_for_their_model_and_are_one_change(hub):
    hub.add("a/new", sharded(llama_tensors(), 4))
    hub.faults["safetensors"] = [["slow", 0.1]] * 4
    widget = VRAMWidget(GRANITE, gpu="L40S")
    before = widget.config

    async def kernel():
        answered = widget.report["revision"]
        imports(widget)
        assert widget.lookup["model_path"] == "a/new"
        assert widget.config == before
        assert widget.report["revision"] > answered
        widget.set_state({"gpu": "H100"})  # the notebook is free meanwhile
        await until(lambda: widget.lookup is None)

    asyncio.run(kernel())
    assert widget.imported is None
    assert (widget.model_path, widget.lora_r, widget.gpu) == ("a/new", 8, "H100")
    widget.undo()
    assert widget.config == {**before, "gpu": "H100"}


def test_imported_settings_stay_where_their_model_cannot_be_had(hub):
    widget = VRAMWidget(GRANITE, gpu="L40S")
    before = widget.config

    async def kernel():
        imports(widget)
        await until(lambda: widget.lookup is None)
        assert "a/new" in widget.imported["error"]
        assert widget.imported["heading"]
        hub.add("a/new", single(llama_tensors()))
        hub.faults["a/new"] = [["slow", 0.3]]
        widget._handle_custom_msg({"type": "put"}, [])
        widget._handle_custom_msg({"type": "cancel"}, [])
        await asyncio.sleep(0.6)

    asyncio.run(kernel())
    assert widget.config == before
    assert widget.imported["heading"]
    assert widget.report["errors"] == {}
