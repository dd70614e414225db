"""Write the README's table of accuracy: predicted against traced and measured, in per cent.

    python tests/reference/make_accuracy.py

estimates every row of the three tables beside this script and puts the errors of the allocated
peak between the README's marks.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from collections.abc import Container, Iterable, Iterator
from functools import partial
from math import ceil
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import reference_steps  # noqa: E402
from recorded import SCRATCH, as_traced, record_of  # noqa: E402
from reference import make_measured  # noqa: E402

import vram_widget as vw  # noqa: E402

README = HERE.parents[1] / "README.md"
BEGIN, END = "<!-- made by tests/reference/make_accuracy.py -->", "<!-- end -->"

HEAD = """\
| held against | rows | median error | nine in ten within | worst |
|---|---:|---:|---:|---:|
"""


class Accuracy(NamedTuple):
    """How far the predicted peaks of some rows lie from theirs, in per cent."""

    rows: int
    median: float
    nine_in_ten: float
    worst: float

    @classmethod
    def of(cls, errors: list[float]) -> Accuracy:
        """Return the accuracy that the rows' errors make."""
        sizes = [100 * abs(error) for error in errors]
        return cls(len(sizes), median(sizes), quantiles(sizes, n=10)[-1], max(sizes))


def allocated(config: dict[str, Any], choices: dict[str, Any], without: Container[str] = ()) -> int:
    """Return the predicted peak of a model that a config.json describes, in bytes.

    As fake tensors see it: cuBLAS's workspaces are not among them, nor what is `without`.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        est = vw.estimate(folder, **choices, gpu="H100")
        return as_traced(record_of(est), without).peak


def reference_errors() -> Iterator[float]:
    """Yield the relative error of each of the 110 reference steps."""
    for row in reference_steps.rows():
        choices = reference_steps.choices(row)
        predicted = allocated(reference_steps.model_config(row), choices, without=SCRATCH)
        yield predicted / int(row["peak_bytes"]) - 1


def traced_errors(tables: Iterable[str], sharded: bool) -> Iterator[float]:
    """Yield the relative error of each traced step of some tables, sharded ones or the others."""
    for table in tables:
        with (HERE / table).open(newline="") as file:
            for row in csv.DictReader(file):
                choices = json.loads(row["choices"])
                if (choices.get("num_gpus", 1) > 1) is sharded:
                    config = json.loads((HERE / "configs" / row["config"]).read_text())
                    yield allocated(config, choices) / int(row["allocated"]) - 1


def measured_errors() -> Iterator[float]:
    """Yield the relative error of each published run that the options cover."""
    with make_measured.TABLE.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["counts"] == "yes":
                yield float(row["predicted_gib"]) / float(row["measured_gib"]) - 1


def reserved_errors() -> Iterator[float]:
    """Yield the relative error of what is reserved in each published run that measured that."""
    with make_measured.TABLE.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["reserved_gib"]:
                yield float(row["reserved_gib"]) / float(row["measured_gib"]) - 1


#: What the predictions are held against, and their errors.
YARDSTICKS = {
    "real training steps of transformers and PEFT on fake tensors, every storage counted "
    "(`tests/reference/step_memory.csv`)": reference_errors,
    "steps of every family by every method on one GPU, traced by `vw.trace` "
    "(`tests/reference/grid.csv`)": partial(traced_errors, ["grid.csv"], sharded=False),
    "steps sharded by Accelerate's FSDP, PyTorch's and DeepSpeed's own engine, traced "
    "(`grid.csv`, `tests/reference/zero.csv`)": partial(
        traced_errors, ["grid.csv", "zero.csv"], sharded=True
    ),
    "the most that published runs on real GPUs allocated "
    "(`tests/reference/measured_predicted.csv`)": measured_errors,
    "what PyTorch's allocator reserved in published runs of FSDP and DDP, many with CPU offload or "
    "on a card that is nearly full (`est.reserved`, the same table)": reserved_errors,
}


def table() -> str:
    """Return the table in Markdown."""
    lines = []
    for name, errors in YARDSTICKS.items():
        found = Accuracy.of(list(errors()))
        figures = " | ".join(per_cent(figure) for figure in found[1:])
        lines.append(f"| {name} | {found.rows} | {figures} |\n")
    return HEAD + "".join(lines)


def per_cent(figure: float) -> str:
    """Return a figure rounded up, so that what is written holds."""
    decimals = 3 if figure < 0.1 else 1
    return f"{ceil(figure * 10**decimals) / 10**decimals:.{decimals}f} %"


if __name__ == "__main__":
    text = README.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n\n{table()}\n{END}{after}", "utf-8")
