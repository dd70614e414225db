"""What Python sends the front end, as an example that the tests of both sides read.

Run ``python tests/example.py`` after a change of the form or the report.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vram_widget.step.timeline import Timeline
from vram_widget.trace.process import TOTAL, Traced
from vram_widget.widget import VRAMWidget
from vram_widget.widget.lookup import Looking
from vram_widget.widget.readings import ALONG
from vram_widget.widget.report import progress
from vram_widget.widget.verification import verification

#: Of another program: one is not counted, and one is misspelt.
SETTINGS = """
base_model: Qwen/Qwen3-8B
adapter: lora
lora_r: 8
lora_target_linear: true
lisa_n_layers: 4
micro_batch_sise: 2
"""

EXAMPLE = Path(__file__).parents[1] / "js" / "tests" / "example.json"


def example() -> dict[str, Any]:
    """Return all that one widget sends: a pinned configuration, and another beside it."""
    widget = VRAMWidget("ibm-granite/granite-3.3-2b-instruct", gpu="L40S", num_gpus=2)
    for request in ({"type": "advise"}, {"type": "pin"}):
        widget._handle_custom_msg(request, [])
    widget.micro_batch_size = 2
    widget.undo()
    history = widget.history
    widget.max_seq_len = 4096
    widget._handle_custom_msg({"type": "explain", "index": 1}, [])
    for name in ALONG:
        widget._handle_custom_msg({"type": "read", "reading": name}, [])
    widget._handle_custom_msg({"type": "import", "text": SETTINGS, "name": "lora.yaml"}, [])
    return {
        "form": widget.form,
        "report": widget.report,
        "values": widget.config,
        "advice": widget.advice,
        "history": history,
        "readings": widget.readings,
        "pinned": widget.pinned,
        "verification": {**traced(), "current": True},
        "explained": widget.explained,
        "imported": widget.imported,
        "lookup": progress(Looking("someone/new", 1, 3, "model-00001-of-00002.safetensors")),
    }


def traced() -> dict[str, Any]:
    """Return what is shown of a trace that found what the estimate says."""
    estimate = VRAMWidget("HuggingFaceTB/SmolLM2-135M", gpu="L40S").estimate
    line = estimate.timeline
    found = Timeline(line.seconds, line.step, line.phase, {TOTAL: line.total})
    return verification(Traced(timeline=found), estimate)


if __name__ == "__main__":
    EXAMPLE.write_text(json.dumps(example(), ensure_ascii=False) + "\n", "utf-8")
