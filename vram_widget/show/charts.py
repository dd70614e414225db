"""Sweeps, comparisons and recommendations in matplotlib, in the widget's colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import Rectangle

from ..units import GiB, gib
from . import text
from .palette import PALETTE, VERDICT_INK, Paint
from .plot import GRID, HALO, INK, MUTED, Chart
from .table import TINTS, Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from numpy.typing import NDArray

    from .result import Result, Results, Series

    Levels = NDArray[np.float64]

#: A card more than this many times the highest bar is left out, or the bars would be a strip.
LARGEST_ROOM = 3
#: Over the highest: two lines of text stand on a bar, where the timeline has none.
ROOM_ABOVE = 1.1
#: Areas that rise over the card's memory more than this many times run out of the picture.
LARGEST_OVER = 3
#: A range this many times as wide as its start is drawn by powers of two.
WIDE = 8
#: As many values or fewer each have a tick.
MOST_TICKS = 12

CAPACITY: dict[str, Any] = {"color": INK, "linewidth": 1.4, "linestyle": (0, (5, 3))}


def sweep_figure(sweep: Series, now: Result | None = None, largest: int | None = None) -> Figure:
    """Return what fills the card at the peak over a field: areas over numbers, else bars.

    Over numbers, `now` is marked where it is, and so is the largest value that fits.
    """
    figure, axes = _page(sweep.title)
    kinds = {type(value) for value in sweep.values}
    if len(sweep.values) > 2 and kinds <= {int, float}:
        pairs = sorted(zip(sweep.values, sweep.estimates, strict=True), key=lambda pair: pair[0])
        _areas(axes, [value for value, _ in pairs], [each for _, each in pairs])
        if now is not None:
            _now(axes, getattr(now.config, sweep.field), now)
    else:
        _bars(axes, sweep.estimates, sweep.names)
    label = axes.set_xlabel(sweep.label, fontsize=9, color=INK)
    if largest:
        _largest(axes, largest, label)
    return figure


def comparison_figure(comparison: Results) -> Figure:
    """Return what fills each card at its peak, a bar each."""
    figure, axes = _page("Memory at the peak, on each GPU")
    _bars(axes, comparison.estimates, comparison.names)
    return figure


def heat_map(
    title: str, columns: Sequence[str], rows: Sequence[str], cells: Sequence[Sequence[str | Cell]]
) -> Figure:
    """Return a table of verdicts as a picture; a cell that is only text has none."""
    height = 1.0 + 0.19 * len(rows)
    figure = Chart(figsize=(7.6, height), dpi=100, facecolor="white")
    axes = figure.add_axes((0.5, 0.1 / height, 0.485, 1 - 0.95 / height))
    for down, row in enumerate(cells):
        for across, cell in enumerate(row):
            if isinstance(cell, Cell):
                label, fill, ink = cell.text, TINTS[cell.verdict], VERDICT_INK[cell.verdict]
            else:
                label, fill, ink = cell, "#f4f4f4", MUTED
            axes.add_patch(Rectangle((across, down), 1, 1, fc=fill, ec="white", lw=1.0))
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7}
            axes.text(across + 0.5, down + 0.5, label, color=ink, **style)
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=7)
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=7.5)
    axes.spines[:].set_visible(False)
    top = 1 - 0.32 / height
    figure.text(0.015, top, title, size=10.5, weight="bold", color=INK)
    for place, (verdict, fill) in enumerate(TINTS.items()):
        box = {"fc": fill, "ec": "none", "pad": 2.0}
        badge: dict[str, Any] = {"size": 7.5, "color": VERDICT_INK[verdict], "bbox": box}
        figure.text(0.02 + 0.11 * place, 1 - 0.62 / height, text.VERDICTS[verdict], **badge)
    return figure


def _page(title: str) -> tuple[Figure, Axes]:
    figure = Chart(figsize=(9.2, 4.6), dpi=100, facecolor="white")
    axes = figure.add_axes((0.055, 0.14, 0.77, 0.75))
    axes.tick_params(length=0, labelsize=8.5, labelcolor=MUTED)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.text(-0.05, 1.02, "GiB", transform=axes.transAxes, fontsize=8.5, color=MUTED)
    figure.text(0.012, 0.945, title, fontsize=11.5, fontweight="bold", color=INK)
    return figure, axes


def _layers(estimates: Sequence[Result]) -> Iterator[tuple[Paint, Levels, Levels]]:
    """Yield for each component that is there its paint, and where it begins and ends in GiB."""
    floor = np.zeros(len(estimates))
    for name, paint in PALETTE.items():
        level = np.array([each.components[name] for each in estimates]) / GiB
        if level.any():
            yield paint, floor, floor + level
            floor = floor + level


def _areas(axes: Axes, values: Sequence[float], estimates: Sequence[Result]) -> None:
    for paint, floor, top in _layers(estimates):
        axes.fill_between(values, floor, top, color=paint.color, linewidth=0, label=paint.label)
    for bound in ([each.low for each in estimates], [each.high for each in estimates]):
        axes.plot(values, np.array(bound) / GiB, color=INK, linewidth=1, linestyle=(0, (1, 2)))
    if values[0] > 0 and values[-1] >= WIDE * values[0]:
        axes.set_xscale("log", base=2)
        axes.minorticks_off()
    if len(values) <= MOST_TICKS:
        axes.set_xticks(values)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.set_xlim(values[0], values[-1])
    levels = np.array([each.capacity for each in estimates]) / GiB
    axes.plot(values, levels, label=_cards(estimates), **CAPACITY)
    _finish(axes, estimates, most=LARGEST_OVER)


def _now(axes: Axes, value: float, result: Result) -> None:
    low, expected, high = (size / GiB for size in result)
    band = [[expected - low], [high - expected]]
    axes.vlines(value, 0, low, color=INK, linewidth=1, linestyle=(0, (1, 2)))
    axes.errorbar(
        value, expected, band, color=INK, capsize=4, lw=1.4, marker="o", mfc="white", ms=5
    )
    label = f"now {text.value_text(value)} · {gib(result.expected)} GiB"
    beside: dict[str, Any] = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center"}
    axes.annotate(label, (value, high), fontsize=9, fontweight="bold", **beside, **HALO)


def _largest(axes: Axes, value: int, label: Text) -> None:
    """Mark a value below the axis, and clear the way for it."""
    left, right = axes.get_xlim()
    to_left = value > (left * right) ** 0.5  # the axis goes by powers
    axes.set_xlabel(label.get_text(), loc="left" if to_left else "right")
    words = f"{text.value_text(value)} is the largest that fits"
    marked = f"{words} ▲" if to_left else f"▲ {words}"
    style: dict[str, Any] = {"fontsize": 8.5, "fontweight": "bold", "color": VERDICT_INK["fits"]}
    style |= {"ha": "right" if to_left else "left", "va": "center"}
    axes.text(value, -0.085, marked, transform=axes.get_xaxis_transform(), **style)


def _bars(axes: Axes, estimates: Sequence[Result], names: Sequence[str]) -> None:
    places = np.arange(len(estimates))
    for paint, floor, top in _layers(estimates):
        axes.bar(places, top - floor, 0.62, floor, color=paint.color, label=paint.label)
    expected = np.array([each.expected for each in estimates]) / GiB
    band = np.array([[e.expected - e.low, e.high - e.expected] for e in estimates]).T / GiB
    axes.errorbar(places, expected, band, fmt="none", color=INK, capsize=4, lw=1.4)
    above: dict[str, Any] = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center"}
    for place, each in zip(places, estimates, strict=True):
        amount = f"{text.VERDICTS[each.verdict]}\n{gib(each.expected)}"
        ink = VERDICT_INK[each.verdict]
        style: dict[str, Any] = {**HALO, "color": ink, "size": 8, "weight": "bold"}
        axes.annotate(amount, (place, each.high / GiB), **style, **above)
        label = _cards(estimates) if place == 0 else None
        axes.plot([place - 0.42, place + 0.42], [each.capacity / GiB] * 2, label=label, **CAPACITY)
    axes.set_xlim(-0.6, len(estimates) - 0.4)
    axes.set_xticks(places, [name.replace(" · ", "\n") for name in names], fontsize=8.5)
    _finish(axes, estimates)


def _cards(estimates: Sequence[Result]) -> str:
    names = {f"{each.gpu.name} · {gib(each.capacity)} GiB" for each in estimates}
    return names.pop() if len(names) == 1 else "the card's memory"


def _finish(axes: Axes, estimates: Sequence[Result], most: float = inf) -> None:
    """Set the height, for areas at most so many times the card's memory, and draw the legend."""
    highest = max(each.high for each in estimates)
    cards = [each.capacity for each in estimates]
    shown = [capacity for capacity in cards if capacity <= LARGEST_ROOM * highest]
    axes.set_ylim(0, ROOM_ABOVE * min(max([highest, *shown]), most * max(cards)) / GiB)
    handles, labels = axes.get_legend_handles_labels()
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.02)}
    axes.legend(handles[::-1], labels[::-1], fontsize=8, frameon=False, **place)
