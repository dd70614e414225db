"""A small table in HTML, for a notebook's cell in light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from .palette import VERDICT_INK

#: The fill behind a verdict's ink, so that it reads on any page.
TINTS = {"fits": "#d9f0dc", "likely": "#ebf3d0", "risky": "#fdeacb", "does_not_fit": "#fadcdc"}


class Cell(NamedTuple):
    """Text in the colours of a verdict."""

    text: str
    verdict: str


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str | Cell]]) -> str:
    """Return a table in HTML; the first column names the rows.

    Examples
    --------
    >>> table("Sizes", ["", "GiB"], [["small", "1.0"]])[:45]
    '<table><caption style="text-align:left;font-w'
    """
    title = f'<caption style="text-align:left;font-weight:bold">{escape(caption)}</caption>'
    heading = "".join(
        f'<th scope="col" style="text-align:left">{escape(name)}</th>' for name in head
    )
    body = "".join(f"<tr>{_row(row)}</tr>" for row in rows)
    return f"<table>{title}<thead><tr>{heading}</tr></thead><tbody>{body}</tbody></table>"


def _row(cells: Sequence[str | Cell]) -> str:
    first, *others = cells
    assert isinstance(first, str)
    named = f'<th scope="row" style="text-align:left;font-weight:normal">{escape(first)}</th>'
    return named + "".join(_cell(cell) for cell in others)


def _cell(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return f'<td style="text-align:left">{escape(cell)}</td>'
    style = f"text-align:left;background:{TINTS[cell.verdict]};color:{VERDICT_INK[cell.verdict]}"
    return f'<td style="{style}">{escape(cell.text)}</td>'
