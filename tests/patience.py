"""What would hang fails instead, on however busy a machine. How long it takes, benchmarks/ hold."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

#: Seconds; many times what anything here takes.
PATIENCE = 60


@contextmanager
def not_hanging() -> Iterator[None]:
    """Fail what is still busy after a minute, in the midst of it."""

    def give_up(*_: object) -> None:
        pytest.fail(f"still busy after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
