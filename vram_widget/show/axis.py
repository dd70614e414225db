"""The time axis of a chart: which phases there are, and where each moment lies."""

from __future__ import annotations

from typing import NamedTuple

from ..step.timeline import Timeline
from .palette import PHASE_LABELS

#: Loading takes this share of the axis whatever it takes of the time: it is not training.
LOAD_SHARE = 0.06
#: No phase is narrower than this share: the peak is often in the shortest.
LEAST_SHARE = 0.03


class Span(NamedTuple):
    """Consecutive moments of one phase: `first` and `last` are indices into the timeline."""

    step: int
    phase: str
    label: str
    first: int
    last: int


def spans(timeline: Timeline) -> list[Span]:
    """Return the runs of moments of one phase.

    Examples
    --------
    >>> line = Timeline([0.0, 1.0, 2.0], [0, 1, 1], ["load", "forward", "forward"])
    >>> [(span.label, span.first, span.last) for span in spans(line)]
    [('load', 0, 0), ('forward', 1, 2)]
    """
    kinds = list(zip(timeline.step, timeline.phase, strict=True))
    starts = [i for i, kind in enumerate(kinds) if i == 0 or kind != kinds[i - 1]]
    ends = [start - 1 for start in starts[1:]] + [len(kinds) - 1]
    return [
        Span(*kinds[first], PHASE_LABELS[kinds[first][1]], first, last)
        for first, last in zip(starts, ends, strict=True)
    ]


def highest(timeline: Timeline, phase: str, step: int) -> int:
    """Return the index of the highest moment within a phase of a step, the last of several.

    A step may reach exactly the peak of the one before: the phase and step say which is meant.
    """
    total = timeline.total
    kinds = enumerate(zip(timeline.phase, timeline.step, strict=True))
    within = [i for i, kind in kinds if kind == (phase, step)]
    return max(reversed(within), key=total.__getitem__)


def positions(timeline: Timeline) -> list[float]:
    """Return where each moment lies on the axis, from 0 to 1.

    A phase is as wide as it is long, but for loading, which has a fixed share, and for the
    shortest, which are widened until they can be seen: the seconds are nominal, the order counts.

    Examples
    --------
    >>> line = Timeline([0.0, 9.0, 10.0, 11.0], [0, 1, 1, 1], ["load", *["forward"] * 3])
    >>> [round(place, 2) for place in positions(line)]
    [0.0, 0.06, 0.53, 1.0]
    """
    seconds, runs = timeline.seconds, spans(timeline)
    ends = [seconds[run.first] for run in runs[1:]] + [seconds[-1]]
    lengths = [end - seconds[run.first] for run, end in zip(runs, ends, strict=True)]
    places: list[float] = []
    left = 0.0
    for run, length, share in zip(runs, lengths, _shares(runs, lengths), strict=True):
        scale, start = share / (length or 1.0), seconds[run.first]
        moments = seconds[run.first : run.last + 1]
        # Rounded, the last of them may lie a bit beyond the end.
        places += [min(left + scale * (moment - start), left + share) for moment in moments]
        left += share
    return places


def _shares(runs: list[Span], lengths: list[float]) -> list[float]:
    training = sum(length for run, length in zip(runs, lengths, strict=True) if run.step) or 1.0
    wide = [
        max(length / training, LEAST_SHARE) if run.step else 0.0
        for run, length in zip(runs, lengths, strict=True)
    ]
    load = LOAD_SHARE * sum(not run.step for run in runs)
    rest = (1 - load) / (sum(wide) or 1.0)
    return [share * rest if run.step else LOAD_SHARE for run, share in zip(runs, wide, strict=True)]


def along(timeline: Timeline, other: Timeline) -> list[tuple[int, float]]:
    """Return where the moments of a timeline lie on the axis of another, phase by phase.

    Parameters
    ----------
    timeline, other : Timeline
        Of the same run, in different seconds.

    Returns
    -------
    list of (int, float)
        The index of each moment and its place, from 0 to 1; without the moments of phases that
        the other does not have. A phase reaches from its first moment to its last.

    Examples
    --------
    >>> ours = Timeline([0.0, 1.0, 2.0], [1, 1, 1], ["forward", "forward", "loss"])
    >>> theirs = Timeline([0.0, 30.0, 40.0], [1, 1, 1], ["forward", "forward", "loss"])
    >>> [(index, round(place, 2)) for index, place in along(ours, theirs)]
    [(0, 0.0), (1, 0.73), (2, 0.97)]
    """
    places = positions(other)
    reach = {(r.step, r.phase): (places[r.first], places[r.last]) for r in spans(other)}
    found = []
    for run in spans(timeline):
        if (run.step, run.phase) in reach:
            left, right = reach[run.step, run.phase]
            moments = range(run.first, run.last + 1)
            seconds = timeline.seconds[run.first : run.last + 1]
            if seconds[0] == seconds[-1]:  # in no time: one after the other
                seconds = [float(n) for n in range(len(seconds))]
            length = seconds[-1] - seconds[0] or 1.0
            shares = [(moment - seconds[0]) / length for moment in seconds]
            found += [
                (index, left + share * (right - left))
                for index, share in zip(moments, shares, strict=True)
            ]
    return found
