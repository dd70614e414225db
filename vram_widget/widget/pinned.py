"""A configuration that is pinned, to be compared with (``Pinned`` in messages.ts)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..advise.compare import compare
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


def differences(before: MemoryEstimate, now: MemoryEstimate) -> list[dict[str, str]]:
    """Return the fields that matter and differ, each by its label and as its values read."""
    fields = TrainingConfig.fields()
    configs = before.config, now.config
    return [
        {
            "name": name,
            "label": str(fields[name].metadata["label"]),
            "before": text.control_text(name, old),
            "now": text.control_text(name, new),
        }
        for name, (old, new) in compare(before, now).differences.items()
        if any(applies(config, name) for config in configs)
    ]
