"""The widget's advice on an estimate, as the front end shows it (``Advice`` in messages.ts)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .launch import launches

if TYPE_CHECKING:
    from ..estimate.estimate import MemoryEstimate
    from ..estimate.run_time import RunTime

#: As many as can be taken in at a glance.
MOST = 4


def advice(estimate: MemoryEstimate) -> dict[str, Any]:
    """Return what to change, how far the batch goes, how long a run takes, and what launches it."""
    from ..advise.largest import limit
    from ..advise.suggest import suggest
    from ..estimate.run_time import run_time

    config = estimate.config
    name = "micro_batch_size" if config.max_tokens_per_gpu is None else "max_tokens_per_gpu"
    most = limit(config, name)
    return {
        "heading": "What there is room for" if estimate.fits else "What would help",
        "suggestions": [
            {
                "what": each.what,
                "effect": each.effect,
                "level": each.verdict,
                "changes": each.changes,
            }
            for each in suggest(config)[:MOST]
        ],
        "largest": {
            "text": most.text,
            "changes": {name: most.value} if most.value not in (0, getattr(config, name)) else {},
        },
        "run": _run(run_time(config), estimate),
        "launches": launches(config),
    }


def _run(run: RunTime, estimate: MemoryEstimate) -> dict[str, Any]:
    """Return the figures of the run, and what a person should know about them."""
    known = set(estimate.notices)  # shown beside the estimate
    return {"figures": run.data(), "notices": [each for each in run.notices if each not in known]}
