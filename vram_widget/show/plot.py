"""The widget's chart in matplotlib, in the same colours and words. Imports matplotlib."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ..units import GiB, gib
from . import text
from .axis import highest, positions, spans
from .palette import PALETTE, VERDICT_INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from ..step.timeline import Timeline
    from .result import Result

    Levels = NDArray[np.float64]

INK, MUTED, GRID = "#1a1a1a", "#595959", "#e2e2e2"

#: What is reserved and holds no tensor.
CACHED = "#f1f1f1"

#: A card more than this many times the peak is left out, or the areas would be a thin strip.
LARGEST_ROOM = 5
HEADROOM = 1.06

#: A white edge keeps text on areas and lines readable.
HALO: dict[str, Any] = {
    "color": INK,
    "path_effects": [withStroke(linewidth=2.5, foreground="white")],
}

#: The size of an area's name, as shares of the axes: of the width for a letter, of the height.
LETTER_WIDTH, NAME_HEIGHT = 0.0095, 0.045


class Chart(Figure):
    """A Figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        return png(self)


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def timeline_figure(result: Result) -> Figure:
    """Return memory by component over the first training steps, as the widget draws it.

    Parameters
    ----------
    result : Result

    Returns
    -------
    Figure
        With the stacked areas in GiB, the card's capacity, and the peak with its band.
    """
    figure = Chart(figsize=(9.2, 4.6), dpi=100, facecolor="white")
    axes = figure.add_axes((0.05, 0.13, 0.935, 0.74))
    places = positions(result.timeline)
    shows_capacity = result.capacity <= LARGEST_ROOM * result.high
    most = max(result.high, *result.reserved_over_time, result.capacity if shows_capacity else 0)
    ceiling = HEADROOM * most / GiB
    _frame(axes, ceiling)
    _reserved(axes, result, np.array(places), ceiling)
    _areas(axes, result, np.array(places), ceiling)
    _phases(axes, result.timeline, places)
    _capacity(axes, result, ceiling, shows_capacity)
    peak = highest(result.timeline, result.peak_phase, result.peak_step)
    _peak(axes, result, places[peak], ceiling)
    subject = f"{text.title(result.config)} · {text.setup(result)}"
    figure.text(0.012, 0.935, subject, fontsize=11.5, fontweight="bold", color=INK)
    verdict = f"{text.verdict(result)} ({text.band(result)})"
    color = VERDICT_INK[result.verdict]
    figure.text(0.985, 0.935, verdict, fontsize=10, fontweight="bold", color=color, ha="right")
    return figure


def _frame(axes: Axes, ceiling: float) -> None:
    axes.set(xlim=(0, 1), ylim=(0, ceiling), xticks=[])
    axes.tick_params(length=0, labelsize=8.5, labelcolor=MUTED)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.text(-0.045, 1.02, "GiB", transform=axes.transAxes, fontsize=8.5, color=MUTED)


def _areas(axes: Axes, result: Result, places: Levels, ceiling: float) -> None:
    floor = np.zeros(len(places))
    for name, paint in PALETTE.items():
        levels = np.array(result.timeline.bytes[name]) / GiB
        top = floor + levels
        if levels.any():
            axes.fill_between(places, floor, top, color=paint.color, linewidth=0)
            place = _name_place(paint.label, places, floor, top, ceiling)
            if place:
                style: dict[str, Any] = {
                    "ha": "center",
                    "va": "center",
                    "fontsize": 9,
                    "fontweight": "bold",
                }
                axes.text(*place, paint.label, color=paint.ink, **style)
        floor = top
    capacity = result.capacity / GiB
    excess: dict[str, Any] = {
        "hatch": "////",
        "facecolor": "none",
        "edgecolor": "white",
        "alpha": 0.6,
    }
    over = floor > capacity
    axes.fill_between(places, capacity, floor, over, interpolate=True, linewidth=0, **excess)


def _reserved(axes: Axes, result: Result, places: Levels, ceiling: float) -> None:
    """Draw what PyTorch's allocator has taken of the card, behind the tensors that are there."""
    if not result.reserved_over_time:
        return
    top = np.array(result.reserved_over_time) / GiB
    axes.fill_between(places, top, color=CACHED, linewidth=0)
    floor = np.array(result.timeline.total) / GiB
    place = _name_place("Cached by PyTorch", places, floor, np.maximum(floor, top), ceiling)
    if place:
        axes.text(*place, "Cached by PyTorch", color=MUTED, ha="center", va="center", fontsize=9)


def _name_place(
    name: str, places: Levels, floor: Levels, top: Levels, ceiling: float
) -> tuple[float, float] | None:
    """Return where an area's name goes, if it fits: the middle of where the area is tallest."""
    half = (len(name) + 2) * LETTER_WIDTH / 2
    found: list[tuple[float, float, float]] = []
    for middle in np.linspace(half, 1 - half, 150):
        across = np.linspace(middle - half, middle + half, 12)
        lowest = float(np.interp(across, places, top).min())
        highest = float(np.interp(across, places, floor).max())
        if lowest - highest >= NAME_HEIGHT * ceiling:
            found.append((lowest - highest, float(middle), (lowest + highest) / 2))
    tallest = max(found, default=(0.0,))[0]
    good = [place[1:] for place in found if place[0] >= 0.92 * tallest]
    return good[len(good) // 2] if good else None


def _phases(axes: Axes, timeline: Timeline, places: list[float]) -> None:
    below = axes.get_xaxis_transform()
    runs = spans(timeline)
    starts = [places[run.first] for run in runs]
    ends = [*starts[1:], 1.0]
    for run, start, end in zip(runs, starts, ends, strict=True):
        axes.axvline(start, color="black", alpha=0.3, linewidth=0.7, linestyle=(0, (1, 3)))
        if end - start >= len(run.label) * 0.0085:
            middle = (start + end) / 2
            axes.text(middle, -0.05, run.label, transform=below, ha="center", fontsize=8.5)
    for step in sorted({run.step for run in runs if run.step}):
        own = [at for at, run in enumerate(runs) if run.step == step]
        start, end = starts[own[0]] + 0.003, ends[own[-1]] - 0.003
        axes.plot([start, end], [-0.07] * 2, transform=below, color=MUTED, lw=0.8, clip_on=False)
        style: dict[str, Any] = {"ha": "center", "fontsize": 8.5, "fontweight": "bold"}
        axes.text((start + end) / 2, -0.125, f"step {step}", transform=below, **style)


def _capacity(axes: Axes, result: Result, ceiling: float, shown: bool) -> None:
    name = f"{result.gpu.name} · {gib(result.capacity)} GiB"
    level = result.capacity / GiB if shown else ceiling * 0.95
    if shown:
        axes.axhline(level, color=INK, linewidth=1.4, linestyle=(0, (5, 3)))
    label = name if shown else f"↑ {name}"
    axes.text(0.008, level + 0.015 * ceiling, label, fontsize=9, fontweight="bold", **HALO)


def _peak(axes: Axes, result: Result, place: float, ceiling: float) -> None:
    low, expected, high = (value / GiB for value in result)
    band = [[expected - low], [high - expected]]
    axes.errorbar(
        place, expected, band, color=INK, capsize=4, lw=1.4, marker="o", mfc="white", ms=5
    )
    before = place > 0.35
    style: dict[str, Any] = {
        "ha": "right" if before else "left",
        "va": "center",
        "fontweight": "bold",
    }
    level = (low + high) / 2
    if abs(level - result.capacity / GiB) < 0.05 * ceiling:
        level = result.capacity / GiB - 0.05 * ceiling
    offset = -0.012 if before else 0.012
    axes.text(place + offset, level, text.peak(result), fontsize=9, **style, **HALO)
