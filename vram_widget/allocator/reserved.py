"""What the caching allocator reserves for recorded steps: in steady training, and at its worst.

A record holds every allocation and release in order; they are replayed here one by one, layers that
repeat each by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ..step.record import Record, Segment
from ..step.tape import Allocation
from .caching_allocator import Block, CachingAllocator
from .conf import AllocConf

#: Training is steady once steps take no more from the driver; it is so after very few.
STEADY = 6


class Process:
    """A training process: what it holds of an allocator's blocks.

    Parameters
    ----------
    allocator : CachingAllocator
        Of one card.
    """

    def __init__(self, allocator: CachingAllocator) -> None:
        self.allocator = allocator
        self._held: dict[object, deque[Block]] = {}

    def run(self, segments: Iterable[Segment]) -> None:
        """Allocate and release what segments of a record do."""
        for segment in segments:
            events = self.events(segment)
            for _ in range(segment.count):
                self.play(events)

    def events(self, segment: Segment) -> list[Event]:
        """Return what a segment does once, as `play` takes it."""
        found = []
        for nbytes, allocation in segment.events:
            held = self._held.setdefault(_who_holds(allocation), deque())
            take = held.popleft if _first_goes_first(segment, allocation) else held.pop
            times = 1 if segment.of_one else allocation.copies
            found.append((nbytes, times if nbytes else 0, allocation.stream, held, take))
        return found

    def play(self, events: Iterable[Event]) -> None:
        """Allocate and release, in order."""
        malloc, free = self.allocator.malloc, self.allocator.free
        for nbytes, times, stream, held, take in events:
            for _ in range(times):
                if nbytes > 0:
                    held.append(malloc(nbytes, stream))
                else:
                    free(take())


#: Bytes taken (positive) or released, how often, in which stream, what of it is held, and how to
#: take one of these.
Event = tuple[int, int, str, deque[Block], Callable[[], Block]]


def _who_holds(allocation: Allocation) -> object:
    """Return what tells an allocation from others: layers release each what another has made."""
    if allocation.operator == "layers":
        return allocation.what, allocation.nbytes
    return allocation


def _first_goes_first(segment: Segment, allocation: Allocation) -> bool:
    """Whether what was made first is released first, as what layers hand on to each other is.

    What each layer keeps is released by the last one first, in backward.
    """
    if allocation.what == "hidden state" and allocation.operator == "layers":
        return segment.phase != "backward"
    return allocation.copies == 1


def steps_of(record: Record) -> tuple[list[Segment], list[Segment], list[Segment]]:
    """Return the segments of loading, of the first step and of every later one."""
    by_step: tuple[list[Segment], list[Segment], list[Segment]] = [], [], []
    for segment, step in zip(record.segments, record.steps, strict=True):
        by_step[step].append(segment)
    return by_step


class Reserved(NamedTuple):
    """Bytes of a card that the allocator reserves (``torch.cuda.memory_reserved()``).

    Attributes
    ----------
    given_back : int
        What a card must have: where it would run out, what is cached is given back first.
    steady : int
        Once all steps are alike.
    varied : int
        After steps of varying length; the same as `steady` where all are alike.
    """

    given_back: int
    steady: int
    varied: int


def reserved(record: Record, others: Sequence[Record], conf: AllocConf) -> Reserved:
    """Return what is reserved for a run.

    Parameters
    ----------
    record : Record
        The run, its batches at their longest.
    others : sequence of Record
        The same at other lengths, in the order in which they come; the longest comes last, when
        segments of all sizes have been made.
    conf : AllocConf
        The allocator's settings.
    """
    steady = _trained([record] * STEADY, CachingAllocator(conf))
    limited = _trained([record] * STEADY, CachingAllocator(conf, limit=record.peak))
    # a card that has room for all that would be cached gives nothing back
    given_back = min(steady, limited)
    varied = _trained([*others, record], CachingAllocator(conf)) if others else steady
    return Reserved(given_back, steady, max(steady, varied))


def _trained(steps: Sequence[Record], allocator: CachingAllocator) -> int:
    """Return the most bytes that are reserved in training, a step of each record."""
    process = Process(allocator)
    loading, first, _ = steps_of(steps[0])
    process.run(loading)
    process.run(first)
    for step, before in zip(steps[1:], steps, strict=False):
        taken = allocator.reserved, allocator.num_alloc_retries
        process.run(steps_of(step)[2])
        if step is before and taken == (allocator.reserved, allocator.num_alloc_retries):
            break  # from here on steps are alike
    return allocator.max_reserved


def over_time(record: Record, conf: AllocConf) -> list[int]:
    """Return the bytes that are reserved at each moment of a record's timeline."""
    process = Process(CachingAllocator(conf))
    _, moments = record.timeline
    wanted: dict[tuple[int, int], list[int]] = {}
    for number, repeat, place in moments:
        wanted.setdefault((number, repeat), []).append(place)
    found: dict[tuple[int, int, int], int] = {}
    for number, segment in enumerate(record.segments):
        events = process.events(segment)
        for repeat in range(segment.count):
            played = 0
            for place in sorted(wanted.get((number, repeat), ())):
                process.play(events[played:place])
                found[number, repeat, place] = process.allocator.reserved
                played = place
            process.play(events[played:])
    return [found[moment] for moment in moments]
