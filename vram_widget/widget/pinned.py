"""A configuration that is pinned, to be compared with (``Pinned`` in messages.ts)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..config import TrainingConfig
from ..export.draft import applies
from ..show import text
from ..show.axis import positions

if TYPE_CHECKING:
    from ..estimate.estimate import MemoryEstimate


def pinned(estimate: MemoryEstimate) -> dict[str, Any]:
    """Return what the widget shows of a pinned estimate, in JSON types; bytes on one GPU."""
    timeline = estimate.timeline
    return {
        "title": text.title(estimate.config),
        "subtitle": text.setup(estimate),
        "verdict": {"level": estimate.verdict, "words": text.verdict(estimate)},
        "expected": estimate.expected,
        "components": estimate.components,
        "at": [round(place, 5) for place in positions(timeline)],
        "total": timeline.total,
        "config": estimate.config.config,
    }


def differences(before: TrainingConfig, now: TrainingConfig) -> list[dict[str, str]]:
    """Return the fields that matter and differ, each by its label and as its values read."""
    old, new = before.config, now.config
    return [
        {
            "name": name,
            "label": str(field.metadata["label"]),
            "before": text.control_text(name, old[name]),
            "now": text.control_text(name, new[name]),
        }
        for name, field in TrainingConfig.fields().items()
        if field.metadata["group"] and old[name] != new[name]
        if applies(before, name) or applies(now, name)
    ]
