"""What a trace is made of: blocks of memory, and the moments they come and go. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..step.timeline import COMPONENTS, Timeline


@dataclass(slots=True, eq=False)
class Storage:
    """One block of memory: what it holds, and who made it.

    Attributes
    ----------
    nbytes : int
        Its size, rounded up to the allocator's block.
    component : str
        One of `vram_widget.step.timeline.COMPONENTS`.
    operator : str
        The operator that made it, as ATen names it.
    module : str
        The module the operator belongs to; in backward, the one whose forward is undone.
    shape, dtype : tuple of int, str
        Of the first tensor that used it.
    sources : tuple of Storage
        In backward, what it was copied or summed up from.
    """

    nbytes: int
    component: str
    operator: str
    module: str
    shape: tuple[int, ...]
    dtype: str
    sources: tuple[Storage, ...] = ()


@dataclass(slots=True)
class Event:
    """A block of memory comes (+1) or goes (-1)."""

    seconds: float
    step: int
    phase: str
    storage: Storage
    sign: int

    @property
    def nbytes(self) -> int:
        """Bytes more (or fewer, if negative) from now on."""
        return self.sign * self.storage.nbytes


def timeline(events: Iterable[Event]) -> Timeline:
    """Add events up to bytes by component, at every moment where the total turns.

    Kept are the first and the last moment of each phase, and between them each local peak and
    each local low; so the level between two moments is a straight line at most off by rounding
    in time, never in bytes.

    Parameters
    ----------
    events : iterable of Event
        In the order in which they happened.
    """
    line = Timeline()
    levels = dict.fromkeys(COMPONENTS, 0)

    def keep(at: Event) -> None:
        line.append(at.seconds, at.step, at.phase, list(levels.values()))

    last: Event | None = None
    for event in events:
        new_phase = last is None or (event.step, event.phase) != (last.step, last.phase)
        if last is not None and (new_phase or event.sign != last.sign):
            keep(last)
        if new_phase:
            keep(event)
        levels[event.storage.component] += event.nbytes
        last = event
    if last is not None:
        keep(last)
    return line
