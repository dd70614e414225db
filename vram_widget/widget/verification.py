"""PyTorch's own step beside an estimate, as the front end shows it (``Verification``, messages.ts).

Where a trace cannot follow every choice, it is held against the estimate of what it did follow,
and is not drawn: the chart is of something else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from ..show.axis import along, spans
from ..step.timeline import Timeline
from ..trace import Trace, trace
from ..trace.followed import followed, notices
from ..trace.process import Traced, TraceProcess
from ..units import GiB

if TYPE_CHECKING:
    from ..estimate.estimate import MemoryEstimate

#: Parts of the axis of which each keeps its highest moment: some five pixels of a wide chart.
PARTS = 160
#: Moments of a phase, such as the loss, that all stay.
FEW = 8
#: Letters of an error that people may be expected to read.
READABLE = 300


class Verifier:
    """Runs PyTorch's own step for a widget, one at a time, and shows what it finds.

    Parameters
    ----------
    show : callable
        Called with what to show, in JSON types, or None where there is nothing.
    """

    def __init__(self, show: Callable[[dict[str, Any] | None], None]) -> None:
        self._show = show
        self._shown: dict[str, Any] | None = None
        # What the trace is of, and the trace while it runs beside the notebook.
        self._estimate: MemoryEstimate | None = None
        self._process: TraceProcess | None = None

    def start(self, estimate: MemoryEstimate) -> None:
        """Trace beside the notebook; whatever was traced before is no longer wanted."""
        self.stop()
        self._estimate, self._shown = estimate, None
        loop = _running_loop()

        def on_change(traced: Traced) -> None:
            if loop is None:
                self._update(estimate, traced)
            else:
                loop.call_soon_threadsafe(self._update, estimate, traced)

        self._process = TraceProcess(estimate.config, estimate.architecture.config, on_change)
        self._update(estimate, Traced(stage="Starting"))
        self._process.start()

    def run(self, estimate: MemoryEstimate) -> Trace:
        """Trace here and now."""
        self.stop()
        self._estimate, self._shown = estimate, None
        result = trace(estimate.config, estimate.architecture.config)
        self._update(estimate, Traced.of(result))
        return result

    def stop(self) -> None:
        """End a trace that runs; what one has found stays."""
        if self._process is not None:
            self._process.cancel()
            self._forget()

    def compare(self, estimate: MemoryEstimate) -> None:
        """Take the estimate that is shown now, to which what was found may not belong."""
        if self._shown is not None and self._estimate is not None:
            current = estimate.config.config == self._estimate.config.config
            if current != self._shown["current"]:
                self._set({**self._shown, "current": current})

    def _update(self, estimate: MemoryEstimate, traced: Traced) -> None:
        if estimate is not self._estimate:
            return  # sent before it was no longer wanted
        if not traced.stage:
            self._process = None
        current = self._shown is None or self._shown["current"]
        self._set({**verification(traced, estimate), "current": current})

    def _forget(self) -> None:
        self._process = self._estimate = None
        self._set(None)

    def _set(self, shown: dict[str, Any] | None) -> None:
        self._shown = shown
        self._show(shown)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop whose work a thread must not come between, if one runs."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def verification(traced: Traced, estimate: MemoryEstimate) -> dict[str, Any]:
    """Return what to show of a trace, in JSON types.

    Parameters
    ----------
    traced : Traced
        How far it is, or what it found.
    estimate : MemoryEstimate
        Of the same configuration.
    """
    shown: dict[str, Any] = {"state": "running", "words": traced.stage, "line": None}
    if traced.error:
        shown |= {"state": "failed", "words": shorten(traced.error, READABLE, placeholder=" …")}
    elif traced.timeline is not None:
        shown |= {"state": "done", "words": _compared(traced.timeline, estimate)}
        replayed = estimate.config.memory_model == "replay"  # a formula has no course over time
        if replayed and not notices(estimate.config):
            shown["line"] = _line(traced.timeline, estimate.timeline)
    return shown


def _compared(traced: Timeline, estimate: MemoryEstimate) -> str:
    """Return the difference in words."""
    from ..estimate.estimate import estimate as estimate_memory

    peak = max(traced.total)
    unfollowed = notices(estimate.config)
    same = estimate_memory(followed(estimate.config)) if unfollowed else estimate
    what = "the estimate for that" if unfollowed else "this estimate"
    seen = same.allocated - _workspaces(same)
    amount, ours = f"{peak / GiB:.2f} GiB", f"{seen / GiB:.2f} GiB without overhead and cuBLAS"
    return " ".join(
        [
            f"PyTorch's own step peaks at {amount}, {_difference(peak, seen)} {what} ({ours}).",
            *unfollowed,
        ]
    )


def _workspaces(estimate: MemoryEstimate) -> int:
    """Return the bytes of cuBLAS at the peak: a trace, which multiplies nothing, has none."""
    operators = [each for component in estimate.explain().children for each in component.children]
    return sum(operator.bytes for operator in operators if operator.name == "cuBLAS")


def _difference(one: int, other: int) -> str:
    """Return how much one amount is above another.

    Examples
    --------
    >>> _difference(1010, 1000), _difference(999, 1000), _difference(1_000_001, 1_000_000)
    ('1.0 % above', '0.1 % below', 'within 0.1 % of')
    """
    percent = 100 * (one - other) / other
    if abs(percent) < 0.1 - 1e-9:
        return "within 0.1 % of"
    return f"{abs(percent):.1f} % {'above' if percent > 0 else 'below'}"


def _line(traced: Timeline, shown: Timeline) -> dict[str, list[Any]]:
    """Return places on the axis and bytes: all moments of a short phase, else the high ones."""
    total = traced.total
    placed = dict(along(traced, shown))
    line: list[tuple[float, int]] = []
    for run in spans(traced):
        if run.step == 0:
            continue  # a trace loads in no time
        moments = [(placed[i], total[i]) for i in range(run.first, run.last + 1) if i in placed]
        line += moments if len(moments) <= FEW else _highest(moments)
    return {"at": [round(place, 5) for place, _ in line], "total": [level for _, level in line]}


def _highest(moments: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return the highest moment of every part of the axis, and both ends."""
    highest: dict[int, tuple[float, int]] = {}
    for place, level in moments:
        part = int(place * PARTS)
        if part not in highest or level > highest[part][1]:
            highest[part] = (place, level)
    return [moments[0], *highest.values(), moments[-1]]
