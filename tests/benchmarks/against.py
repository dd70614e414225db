"""What something takes against something else measured in the same breath: a ratio, not a time.

A machine shared with others runs everything slower, and this process even by its own clock. What
is compared with suffers the same, so the ratio stays.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

#: What was held, in words: each ratio beside its limit.
HELD: list[str] = []

ROUNDS = 7


def loop() -> int:
    """Add a million numbers: what other things are measured in. Some 30 ms on an idle core."""
    total = 0
    for number in range(1_000_000):
        total += number
    return total


def ratio(action: Callable[[], object], other: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the processor time of an action over another's: the median of several rounds.

    The other is timed before and after, in every round.
    """
    found = []
    for _ in range(rounds):
        before, taken, after = timed(other), timed(action), timed(other)
        found.append(2 * taken / (before + after))
    return median(found)


def timed(action: Callable[[], object]) -> float:
    """Return the seconds of processor time that an action takes."""
    begun = time.process_time()
    action()
    return time.process_time() - begun


def numbers_of(script: str, environment: Mapping[str, str] | None = None) -> list[float]:
    """Return the numbers that a script prints, run by an interpreter of its own."""
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return [float(word) for word in run.stdout.split()]


def keeping_bytecode(folder: Path) -> dict[str, str]:
    """Return an environment in which what is compiled once stays so, in a folder."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def hold(what: str, found: float, unit: str, limit: float) -> None:
    """Fail where a ratio is above its limit; show it in any case."""
    HELD.append(f"{found:7.3f}  of at most {limit:6.3f}  {what}, over {unit}")
    assert found <= limit, HELD[-1]
