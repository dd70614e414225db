"""A replay's record as a trace on fake tensors sees it: without what only a card's libraries make.

Traced steps have no workspaces of cuBLAS. Those of `step_memory.csv` were simulated without the
scratch of CUDA's attention kernels besides, which the other tables were traced with.
"""

from __future__ import annotations

from collections.abc import Container

import vram_widget as vw
from vram_widget.step.record import Record, Segment
from vram_widget.step.replay import replay
from vram_widget.step.run import Run
from vram_widget.step.tape import Allocation

#: What CUDA's kernels make and drop within one call, by the name that the replay gives it.
SCRATCH = {
    "gradient * softmax",
    "dot products",
    "gradient of the queries in float32",
    "gradient of each head",
    "attention in float32",
    "sums of tokens",
}


def record_of(est: vw.MemoryEstimate) -> Record:
    """Return the record that an estimate reads."""
    return replay(Run.of(est.config, est.architecture, est.gpu))


def as_traced(record: Record, without: Container[str] = ()) -> Record:
    """Return a record without workspaces, and without this scratch too."""

    def is_seen(allocation: Allocation) -> bool:
        return allocation.operator != "cuBLAS" and allocation.what not in without

    steps: list[tuple[int, list[Segment]]] = []
    for step, segment in zip(record.steps, record.segments, strict=True):
        events = [event for event in segment.events if is_seen(event[1])]
        if events:
            seen = Segment(segment.phase, events, segment.seconds, segment.count, segment.of_one)
            steps.append((step, [seen]))
    return Record(steps)


def highest(record: Record) -> dict[str, int]:
    """Return the most bytes of tensors in each phase of the second step."""
    line, _ = record.timeline
    found: dict[str, int] = {}
    for total, step, phase in zip(line.total, line.step, line.phase, strict=True):
        if step == 2:
            found[phase] = max(found.get(phase, 0), total)
    return found
