"""The record of a replay, and its three readings: the peak, the timeline, every byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from operator import add
from typing import NamedTuple

from .tape import Allocation, Event
from .timeline import COMPONENTS, Timeline

#: Bytes by component, in the order of `COMPONENTS`.
Levels = list[int]
NOTHING: Levels = [0] * len(COMPONENTS)

#: How many of the layers that repeat the timeline draws: the others are between them, on a
#: straight line.
DRAWN = 8


class Moment(NamedTuple):
    """A place in the record: after `events` of a segment, in its repetition number `repeat`."""

    segment: int
    repeat: int
    events: int


class Course(NamedTuple):
    """How memory goes over one repetition of a segment.

    Attributes
    ----------
    change : list of int
        What it adds, by component.
    highest : int
        Bytes above its start at its highest moment, `at` events in.
    highest_levels : list of int
        The same by component.
    """

    change: Levels
    highest: int
    at: int
    highest_levels: Levels


class Segment:
    """Events that happen `count` times in a row, once for each layer they stand for.

    Attributes
    ----------
    of_one : bool
        Whether they are those of one layer of several; others are those of all layers together.
    """

    def __init__(
        self,
        phase: str,
        events: Sequence[Event],
        seconds: float,
        count: int = 1,
        of_one: bool = False,
    ) -> None:
        self.phase = phase
        self.events = events
        self.seconds = seconds
        self.count = count
        self.of_one = of_one

    @cached_property
    def course(self) -> Course:
        """How memory goes over one repetition."""
        level = highest = at = 0
        levels = dict.fromkeys(COMPONENTS, 0)
        of_one = self.of_one
        for index, (nbytes, allocation) in enumerate(self.events, 1):
            change = nbytes if of_one else nbytes * allocation.copies
            level += change
            levels[allocation.component] += change
            if level > highest:
                highest, at = level, index
        return Course(list(levels.values()), highest, at, self.levels(0, at))

    def repeated(self, count: int) -> Segment:
        """Return the same events, as they happen `count` times in a row."""
        other = copy(self)
        other.count = count
        return other

    def halves(self, at: int) -> tuple[Segment, Segment]:
        """Return the events up to one of them, and those from there on, as they happen once."""
        seconds = self.seconds / 2
        events = self.events
        before = Segment(self.phase, events[:at], seconds, of_one=self.of_one)
        return before, Segment(self.phase, events[at:], seconds, of_one=self.of_one)

    def levels(self, start: int, end: int) -> Levels:
        """Return what the events from `start` to `end` add, by component."""
        levels = dict.fromkeys(COMPONENTS, 0)
        of_one = self.of_one
        for nbytes, allocation in self.events[start:end]:
            levels[allocation.component] += nbytes if of_one else nbytes * allocation.copies
        return list(levels.values())


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
            course = segment.course
            total, net = sum(base), sum(course.change)
            repeat = segment.count - 1 if net > 0 else 0
            height = total + repeat * net + course.highest
            if height >= self.peak:  # of equal peaks the last: the steady state
                self.peak = height
                self.peak_moment = Moment(number, repeat, course.at)
            base = plus(base, course.change, segment.count)

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
        start = plus(self.bases[moment.segment], segment.course.change, moment.repeat)
        return plus(start, segment.levels(0, moment.events))

    @cached_property
    def timeline(self) -> tuple[Timeline, list[tuple[int, int, int]]]:
        """Memory over time, and the moment behind each of its points."""
        seconds: list[float] = []
        moments: list[tuple[int, int, int]] = []
        points: list[Levels] = []
        now = 0.0
        for number, segment in enumerate(self.segments):
            base = self.bases[number]
            change, _, at, highest = segment.course
            peak_at = segment.seconds * (at / max(len(segment.events), 1))
            for repeat in drawn(segment.count):
                start = plus(base, change, repeat) if repeat else base
                begin = now + repeat * segment.seconds
                seconds += begin, begin + peak_at
                points += start, list(map(add, start, highest))
                moments += (number, repeat, 0), (number, repeat, at)
                if segment.count > DRAWN:  # the next one is left out: this one ends here
                    seconds.append(now + (repeat + 1) * segment.seconds)
                    points.append(list(map(add, start, change)))
                    moments.append((number, repeat, len(segment.events)))
            now += segment.count * segment.seconds
        last = self.segments[-1]
        seconds.append(now)
        points.append(plus(self.bases[-1], last.course.change, last.count))
        moments.append((len(self.segments) - 1, last.count - 1, len(last.events)))
        columns = map(list, zip(*points, strict=True))
        timeline = Timeline(
            seconds,
            [self.steps[segment] for segment, _, _ in moments],
            [self.segments[segment].phase for segment, _, _ in moments],
            dict(zip(COMPONENTS, columns, strict=True)),
        )
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
                change = sign * times * (1 if segment.of_one else allocation.copies)
                counts[allocation] = counts.get(allocation, 0) + change
        for allocation, count in counts.items():
            if count:
                yield allocation, count


def repetitions(
    segments: Sequence[Segment],
    count: int,
    beyond_first: Mapping[Allocation, Allocation],
    before_last: Mapping[Allocation, Allocation],
) -> list[Segment]:
    """Return the segments of layers that come `count` times, which were executed once.

    Parameters
    ----------
    segments : sequence of Segment
        What they did: more than one where some of them repeat themselves.
    beyond_first : mapping of Allocation to Allocation
        What all but the first release in place of what was there before them.
    before_last : mapping of Allocation to Allocation
        What all but the last make in place of what is there behind them.
    """
    phase, seconds = segments[0].phase, sum(each.seconds * each.count for each in segments)
    events = [event for each in segments for _ in range(each.count) for event in each.events]
    if count == 1 or not (beyond_first or before_last):
        return [Segment(phase, events, seconds, count, of_one=True)]
    differ = [
        (index, allocation)
        for index, (_, allocation) in enumerate(events)
        if allocation in beyond_first or allocation in before_last
    ]

    def repeated(times: int, first: bool = False, last: bool = False) -> Segment:
        varied = list(events)
        made = set()
        for index, allocation in differ:
            if not first and allocation in beyond_first:
                other = beyond_first[allocation]
                varied[index] = -other.nbytes, other
            elif not last and allocation in before_last:
                other = before_last[allocation]
                varied[index] = -other.nbytes if other in made else other.nbytes, other
                made.add(other)
        return Segment(phase, varied, seconds, times, of_one=True)

    between = [repeated(count - 2)] if count > 2 else []
    return [repeated(1, first=True), *between, repeated(1, last=True)]


def plus(base: Levels, change: Levels, times: int = 1) -> Levels:
    """Return `base` after `times` times the change."""
    return [a + times * b for a, b in zip(base, change)]  # noqa: B905  # a hot path, of one length


def drawn(count: int) -> list[int]:
    """Return which of `count` repetitions the timeline draws: evenly spaced, both ends kept."""
    if count <= DRAWN:
        return list(range(count))
    return sorted({round(k * (count - 1) / (DRAWN - 1)) for k in range(DRAWN)})
