"""What the README says: its commands, its pictures, its code and its figures."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from reference import make_accuracy, make_comparison, make_measured
from reference.make_accuracy import BEGIN, END, YARDSTICKS, Accuracy

import vram_widget as vw
from vram_widget.units import GiB

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


def blocks() -> list[str]:
    """Return the README's code in Python, without what needs PyTorch."""
    traces = re.compile(r"^(?:vw\.trace|w\.verify)\(.*\n", re.MULTILINE)
    code = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return [traces.sub("", each) for each in code]


def test_the_api_in_one_screen_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(blocks()[0], found)
    assert found["low"] < found["expected"] < found["high"]
    assert (tmp_path / "plan.html").stat().st_size > 10_000


@pytest.mark.filterwarnings("ignore::vram_widget.export.readers.reading.ReadingWarning")
@pytest.mark.filterwarnings("ignore::vram_widget.export.ExportWarning")
def test_the_file_that_is_read_is_answered_as_it_says() -> None:
    _, code, _ = blocks()
    found: dict[str, Any] = {"vw": vw}
    exec(code, found)
    config = found["config"]
    assert "peft_layer_replication" in " ".join(each["text"] for each in config.uncounted)
    est = vw.estimate(config)
    assert est.verdict == "likely"
    assert est.high <= est.gpu.usable


def test_odd_lengths_leave_in_the_cache_what_segments_that_expand_do_not() -> None:
    *lines, expanded = blocks()[2].splitlines()
    found: dict[str, Any] = {"vw": vw}
    exec("\n".join(lines), found)
    plain, pages = found["est"].reserved, eval(expanded, found)
    assert plain.varied > 1.2 * plain.steady
    assert pages.varied < 1.05 * pages.steady


def test_every_reader_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`from_.*?) \|", README, re.MULTILINE)
    named = re.findall(r"`(from_\w+)`", " ".join(rows))
    assert sorted(named) == [name for name in vw.__all__ if name.startswith("from_")]


def claims() -> list[Accuracy]:
    table = README.partition(BEGIN)[2].partition(END)[0]
    rows = [line.split("|")[2:-1] for line in table.splitlines() if " % |" in line]
    figures = [[float(cell.strip(" %")) for cell in row] for row in rows]
    return [Accuracy(int(row[0]), *row[1:]) for row in figures]


@pytest.mark.parametrize(
    ("errors", "claim"),
    list(zip(YARDSTICKS.values(), claims(), strict=True)),
    ids=["reference steps", "traced", "sharded", "published runs", "what is reserved"],
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


def test_the_comparison_is_of_the_committed_rows() -> None:
    table = README.partition(make_comparison.BEGIN)[2].partition(make_comparison.END)[0].strip()
    written, found = table.splitlines(), make_comparison.summary(make_comparison.committed())
    own = written.pop(2)
    assert written == [line for line in found.splitlines() if "this package" not in line]
    errors = make_comparison.errors(make_comparison.committed(), "this_package")
    claim = [float(cell.strip(" %").replace("−", "-")) for cell in own.split("|")[3:-1]]
    assert len(errors) >= claim[0]
    assert 100 * median(map(abs, errors)) <= claim[1]
    assert claim[2] - 0.5 <= 100 * min(errors)
    assert 100 * max(errors) <= claim[3] + 0.5


def test_the_rule_of_thumb_is_as_compared() -> None:
    runs = {row["id"]: make_measured.choices(row) for row in make_comparison.rows()}
    for row in make_comparison.committed():
        found = make_comparison.by_rule_of_thumb(runs[row["id"]]) / GiB
        assert found == pytest.approx(float(row["rule_of_thumb"]), abs=0.01), row["id"]
