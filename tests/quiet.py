"""Process time as it would be on a machine that does nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable

from vram_widget.step.replay import replay

#: Seconds that `_loop` takes on one idle core of a server (CPython 3.11).
IDLE = 0.05


def seconds(action: Callable[[], object], runs: int = 3) -> float:
    """Return the least time of a few runs, none of which remembers what another replayed.

    A machine shared with others runs a process slower even by its own clock; by how much, a loop
    of additions before each run tells.
    """
    taken = []
    for _ in range(runs):
        replay.cache_clear()
        slowness = max(1.0, _timed(_loop) / IDLE)
        taken.append(_timed(action) / slowness)
    return min(taken)


def _timed(action: Callable[[], object]) -> float:
    begun = time.process_time()
    action()
    return time.process_time() - begun


def _loop() -> int:
    total = 0
    for number in range(1_000_000):
        total += number
    return total
