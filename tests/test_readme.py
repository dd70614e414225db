"""What the README says: its commands, its pictures, its code and its figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from reference import make_accuracy
from reference.make_accuracy import BEGIN, END, YARDSTICKS, Accuracy

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_the_first_screen_shows_the_widget_and_the_two_commands() -> None:
    screen = "\n".join(README.splitlines()[:25])
    assert "](notebooks/images/widget.png)" in screen
    assert "pip install '.[lab]' && jupyter lab notebooks/quickstart.ipynb" in screen
    assert "pip install -e '.[test]' && pytest" in screen


def test_every_file_that_is_named_is_there() -> None:
    named = re.findall(r"\]\(([^)#:]+)\)", README)
    named += re.findall(r"`((?:tests|notebooks|vram_widget|js)/[^`<> ]*)`", README)
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_api_in_one_screen_runs() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    quick = [line for line in code.splitlines() if not line.startswith("vw.trace(")]
    found: dict[str, object] = {}
    exec("\n".join(quick), found)
    assert found["low"] < found["expected"] < found["high"]


def claims() -> list[Accuracy]:
    table = README.partition(BEGIN)[2].partition(END)[0]
    rows = [line.split("|")[2:-1] for line in table.splitlines() if " % |" in line]
    figures = [[float(cell.strip(" %")) for cell in row] for row in rows]
    return [Accuracy(int(row[0]), *row[1:]) for row in figures]


@pytest.mark.parametrize(
    ("errors", "claim"),
    list(zip(YARDSTICKS.values(), claims(), strict=True)),
    ids=["reference steps", "traced steps", "published runs"],
)
def test_the_accuracy_is_what_is_claimed(errors, claim) -> None:
    found = Accuracy.of(list(errors()))
    assert found.rows >= claim.rows
    assert found.median <= claim.median
    assert found.nine_in_ten <= claim.nine_in_ten
    assert found.worst <= claim.worst


def test_a_figure_is_never_written_smaller_than_it_is() -> None:
    assert make_accuracy.per_cent(0.0101) == "0.011 %"
    assert make_accuracy.per_cent(1.4306) == "1.5 %"
