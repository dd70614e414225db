"""The widget's report: an estimate as the front end draws it (``Report`` in messages.ts)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import words
from ..axis import highest, positions, spans
from .pinned import differences

if TYPE_CHECKING:
    from ..estimate import MemoryEstimate
    from ..model.lookup import Looking


def report(estimate: MemoryEstimate, pinned: MemoryEstimate | None = None) -> dict[str, Any]:
    """Return everything the widget shows of an estimate, in JSON types; memory in bytes.

    With a pinned estimate beside it, also in which fields they differ.
    """
    timeline, notes = estimate.timeline, estimate.notes
    return {
        "title": words.title(estimate.config),
        "subtitle": words.setup(estimate),
        "verdict": {
            "level": estimate.verdict,
            "words": words.verdict(estimate),
            "range": f"({words.band(estimate)})",
        },
        "remarks": {"model": words.model(estimate), "batch": words.batch(estimate.config)},
        "placeholders": {
            "gpu_memory": f"{words.gib(estimate.capacity)} GiB",
            "max_tokens_per_gpu": f"{estimate.config.tokens:,}",
            "gpu_hour_price": "none",
        },
        "gpu": estimate.gpu.name,
        "capacity": estimate.capacity,
        "low": estimate.low,
        "expected": estimate.expected,
        "high": estimate.high,
        "peak": {
            "index": highest(timeline, estimate.peak_phase, estimate.peak_step),
            "label": words.peak(estimate),
            "moment": words.moment(estimate.peak_phase, estimate.peak_step),
        },
        "components": [
            {"name": name, "bytes": nbytes, "note": notes.get(name, "")}
            for name, nbytes in estimate.components.items()
        ],
        "timeline": {
            "at": [round(place, 5) for place in positions(timeline)],
            "bytes": {name: levels for name, levels in timeline.bytes.items() if any(levels)},
            "spans": [span._asdict() for span in spans(timeline)],
        },
        "notices": list(estimate.notices),
        "differences": differences(pinned, estimate) if pinned else [],
        "errors": {},
    }


def progress(looking: Looking[Any]) -> dict[str, Any]:
    """Return how far a look-up on the Hub is, in JSON types (``Lookup`` in messages.ts)."""
    return {
        "model_path": looking.model_path,
        "done": looking.done,
        "total": looking.total,
        "file": looking.file,
    }
