"""The record of a replay, and its three readings: the peak, the timeline, every byte."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..timeline import COMPONENTS, Timeline
from .tape import Allocation, Event

#: Bytes by component, in the order of `COMPONENTS`.
Levels = list[int]
INDEX = {component: index for index, component in enumerate(COMPONENTS)}
NOTHING: Levels = [0] * len(COMPONENTS)

#: How many layers of a run the timeline draws: the others are between them, on a straight line.
DRAWN = 8


class Moment(NamedTuple):
    """A place in the record: after `events` of a segment, in its repetition number `repeat`."""

    segment: int
    repeat: int
    events: int


class Segment:
    """Events that happen `count` times in a row, once for each layer they stand for.

    Attributes
    ----------
    change : list of int
        What one repetition adds, by component.
    turns : list of (int, list of int)
        After how many events memory turns, and what it has added by then: the highest moment
        and the larger swings.
    """

    def __init__(self, phase: str, events: Sequence[Event], seconds: float, count: int = 1) -> None:
        self.phase = phase
        self.events = events
        self.seconds = seconds
        self.count = count
        self._measure()

    def weight(self, allocation: Allocation) -> int:
        """Return how many allocations one event stands for in one repetition."""
        return 1 if self.count > 1 else allocation.copies

    def _measure(self) -> None:
        level = highest = 0
        at = 0
        for index, (nbytes, allocation) in enumerate(self.events, 1):
            level += nbytes * self.weight(allocation)
            if level > highest:
                highest, at = level, index
        self.highest = highest
        self.highest_at = at
        self.change = self.levels(len(self.events))
        self.highest_levels = self.levels(at)

    def levels(self, events: int) -> Levels:
        """Return what the first `events` events add, by component."""
        levels = NOTHING.copy()
        once = self.count > 1
        for nbytes, allocation in self.events[:events]:
            levels[INDEX[allocation.component]] += nbytes if once else nbytes * allocation.copies
        return levels


class Record:
    """The segments of loading and the first steps, one after the other."""

    def __init__(self, steps: Sequence[tuple[int, Sequence[Segment]]]) -> None:
        self.segments = [segment for _, segments in steps for segment in segments]
        self.steps = [step for step, segments in steps for _ in segments]
        self._find_peak()

    def _find_peak(self) -> None:
        base = NOTHING
        self.bases: list[Levels] = []
        self.peak = -1
        for number, segment in enumerate(self.segments):
            self.bases.append(base)
            total, net = sum(base), sum(segment.change)
            last = segment.count - 1
            repeat = last if net > 0 else 0
            height = total + repeat * net + segment.highest
            if height >= self.peak:  # of equal peaks the last: the steady state
                self.peak = height
                self.peak_moment = Moment(number, repeat, segment.highest_at)
            base = plus(base, segment.change, segment.count)

    @property
    def peak_phase(self) -> str:
        """The phase of the peak."""
        return self.segments[self.peak_moment.segment].phase

    @property
    def peak_step(self) -> int:
        """The training step of the peak."""
        return self.steps[self.peak_moment.segment]

    def at(self, moment: Moment) -> Levels:
        """Return the bytes of every component at a moment."""
        segment = self.segments[moment.segment]
        start = plus(self.bases[moment.segment], segment.change, moment.repeat)
        return plus(start, segment.levels(moment.events))

    def timeline(self) -> tuple[Timeline, list[Moment]]:
        """Return memory over time, and the moment behind each of its points."""
        timeline, moments = Timeline(), []
        now = 0.0
        for number, segment in enumerate(self.segments):
            length = max(len(segment.events), 1)
            for repeat in drawn(segment.count):
                start = plus(self.bases[number], segment.change, repeat)
                begin = now + repeat * segment.seconds
                for events, levels in ((0, NOTHING), (segment.highest_at, segment.highest_levels)):
                    seconds = begin + segment.seconds * events / length
                    timeline.append(seconds, self.steps[number], segment.phase, plus(start, levels))
                    moments.append(Moment(number, repeat, events))
            now += segment.count * segment.seconds
        end = plus(self.bases[-1], self.segments[-1].change, self.segments[-1].count)
        timeline.append(now, self.steps[-1], self.segments[-1].phase, end)
        moments.append(Moment(len(self.segments) - 1, 0, len(self.segments[-1].events)))
        return timeline, moments

    def alive(self, moment: Moment) -> Iterator[tuple[Allocation, int]]:
        """Yield every allocation that is there at a moment, with how many of it there are."""
        counts: dict[Allocation, int] = {}
        for number, segment in enumerate(self.segments[: moment.segment + 1]):
            here = number == moment.segment
            repeats = moment.repeat if here else segment.count
            for index, (nbytes, allocation) in enumerate(segment.events):
                times = repeats + (1 if here and index < moment.events else 0)
                sign = 1 if nbytes > 0 else -1
                change = sign * times * segment.weight(allocation)
                counts[allocation] = counts.get(allocation, 0) + change
        for allocation, count in counts.items():
            if count:
                yield allocation, count


def plus(base: Levels, change: Levels, times: int = 1) -> Levels:
    """Return `base` after `times` times the change."""
    return [a + times * b for a, b in zip(base, change, strict=True)]


def drawn(count: int) -> list[int]:
    """Return which of `count` repetitions the timeline draws: evenly spaced, both ends kept."""
    if count <= DRAWN:
        return list(range(count))
    return sorted({round(k * (count - 1) / (DRAWN - 1)) for k in range(DRAWN)})
