"""The widget's report: an estimate as the front end draws it (``Report`` in messages.ts)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..show import text
from ..show.axis import highest, positions, spans
from ..units import gib
from .pinned import differences

if TYPE_CHECKING:
    from ..estimate.estimate import MemoryEstimate
    from .lookup import Looking


def report(estimate: MemoryEstimate, pinned: MemoryEstimate | None = None) -> dict[str, Any]:
    """Return everything the widget shows of an estimate, in JSON types; memory in bytes.

    With a pinned estimate beside it, also in which fields they differ.
    """
    timeline, notes = estimate.timeline, estimate.notes
    return {
        "title": text.title(estimate.config),
        "subtitle": text.setup(estimate),
        "verdict": {
            "level": estimate.verdict,
            "words": text.verdict(estimate),
            "range": f"({text.band(estimate)})",
        },
        "remarks": {"model": text.model(estimate), "batch": text.batch(estimate.config)},
        "placeholders": {
            "gpu_memory": f"{gib(estimate.capacity)} GiB",
            "max_tokens_per_gpu": f"{estimate.config.tokens:,}",
            "gpu_hour_price": "none",
            "target_parameters": "none",
            "modules_to_save": "none",
            "trainable_token_indices": "none",
            "trainable_parameters": "all",
            "pytorch_alloc_conf": "PyTorch's own",
        },
        "gpu": estimate.gpu.name,
        "capacity": estimate.capacity,
        "low": estimate.low,
        "expected": estimate.expected,
        "high": estimate.high,
        "peak": {
            "index": highest(timeline, estimate.peak_phase, estimate.peak_step),
            "label": text.peak(estimate),
            "moment": text.moment(estimate.peak_phase, estimate.peak_step),
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
        "uncounted": text.uncounted(estimate.config),
        "differences": differences(pinned.config, estimate.config) if pinned else [],
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
