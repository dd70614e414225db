"""Saving the widget as a page: the file, and what it says where it cannot be written."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from vram_widget import VRAMWidget
from vram_widget.errors import FileError, VRAMWidgetError
from vram_widget.show import text
from vram_widget.widget.page import write

GRANITE = "ibm-granite/granite-3.3-2b-instruct"


@pytest.fixture
def widget() -> VRAMWidget:
    return VRAMWidget(GRANITE, gpu="L40S")


def test_the_text_is_what_the_file_holds(widget: VRAMWidget, tmp_path: Path) -> None:
    text = widget.to_html()
    assert text
    assert widget.to_html(tmp_path / "plan.html") is None
    saved = (tmp_path / "plan.html").read_text("utf-8")
    assert state(saved)["config"] == state(text)["config"]
    assert os.listdir(tmp_path) == ["plan.html"]


def state(text: str) -> dict[str, object]:
    """Return what a page shows: the values of the fields, and everything else."""
    found = re.search(r'id="state">(.*?)</script>', text, re.DOTALL)
    assert found
    traits = json.loads(found[1])
    config = {name: traits.pop(name) for name in VRAMWidget.field_names()}
    return {"config": config, **traits}


def test_a_page_holds_the_report_and_the_configuration(widget: VRAMWidget) -> None:
    shown = state(widget.to_html() or "")
    assert shown["report"] == widget.report
    assert shown["config"] == widget.config
    assert text.verdict(widget.estimate) in (widget.to_html() or "").split("<noscript>")[1]


def test_a_page_names_no_other_machine(widget: VRAMWidget) -> None:
    text = re.sub(r"base64,[\w+/=]+", "", widget.to_html() or "")
    assert set(re.findall(r"(?:https?|wss?)://[^\"'`\s)]+", text)) == set()
    assert "default-src 'none'" in text


@pytest.mark.parametrize("path", ["nowhere/plan.html", "."])
def test_a_path_that_cannot_be_written_is_one_sentence(
    widget: VRAMWidget, tmp_path: Path, path: str
) -> None:
    with pytest.raises(FileError, match="cannot be written") as raised:
        widget.to_html(tmp_path / path)
    assert isinstance(raised.value, VRAMWidgetError)
    assert isinstance(raised.value, OSError)
    assert "folder" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_is_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "plan.html"
    file.write_text("before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FileError, match="No space left"):
        write(file, "after")
    assert file.read_text() == "before"
    assert os.listdir(tmp_path) == ["plan.html"]
