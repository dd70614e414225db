"""Plant faults in the package, one at a time: each must make the tests that should see it fail.

    python tests/mutants.py               # all of them, some minutes
    python tests/mutants.py --sample 10   # ten, drawn anew every day
    python tests/mutants.py --list

A fault is planted in a copy of the package, never in the tree. It is killed if its tests fail with
it and pass without it. A text that is no longer found exactly once is an error as well, so that no
fault is lost when code moves.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from enum import Enum
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

from faults import FAULTS, Fault

TREE = Path(__file__).resolve().parents[1]


def main() -> int:
    """Do what the command line asks for; return 1 if a fault survives or is no longer found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="list the faults")
    parser.add_argument("--sample", type=int, metavar="N", help="plant N of them")
    parser.add_argument("--seed", default=str(date.today()), help="of the sample; today's date")
    parser.add_argument("--only", default="", metavar="TEXT", help="those with it in their file")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    faults = [fault for fault in FAULTS if chosen.only in fault.file]
    if chosen.sample is not None:
        print(f"A sample of {chosen.sample} by the seed {chosen.seed}")
        faults = random.Random(chosen.seed).sample(faults, min(chosen.sample, len(faults)))
    if chosen.list:
        print(*map(described, faults), sep="\n")
        return 0
    lost = [fault for fault in FAULTS if occurrences(fault) != 1]
    for fault in lost:
        print(f"found {occurrences(fault)} times: {described(fault)}")
    wrong = len(lost)
    with copies(chosen.jobs) as each:
        sound = selections(faults)
        for (tests, matching), outcome in zip(sound, each(Copy.run, sound), strict=True):
            if outcome is not Outcome.PASSED:
                print(f"without a fault {outcome.value}: {tests} -k {matching!r}")
                wrong += 1
        planted = [fault for fault in faults if fault not in lost]
        for fault, outcome in zip(planted, each(Copy.plant, planted), strict=True):
            killed = outcome is Outcome.FAILED
            print(f"{'killed' if killed else outcome.value}: {described(fault)}", flush=True)
            wrong += not killed
    print("All are killed." if not wrong else f"{wrong} to be seen to.")
    return int(wrong > 0)


def described(fault: Fault) -> str:
    """Return a fault in one line."""
    text, instead = (" ".join(each.split()) for each in (fault.text, fault.instead))
    return f"{fault.file}: {text}  ->  {instead or 'nothing'}  ({fault.tests})"


def occurrences(fault: Fault) -> int:
    """Return how often the text is in its file."""
    file = TREE / "vram_widget" / fault.file
    return file.read_text(encoding="utf-8").count(fault.text) if file.exists() else 0


def selections(faults: Sequence[Fault]) -> list[tuple[str, str]]:
    """Return the tests of some faults, each selection once."""
    return list(dict.fromkeys((fault.tests, fault.matching) for fault in faults))


class Outcome(Enum):
    """What came of a run of tests."""

    PASSED = "passed"
    FAILED = "failed"
    BROKEN = "broken"


#: A fault that is no longer Python, or no longer fits the code around it, shows nothing.
NO_FAULT = re.compile(
    r"^E +(NameError|SyntaxError|IndentationError|ImportError|UnboundLocalError|AttributeError"
    r"|TypeError)\b",
    re.MULTILINE,
)


class Copy:
    """A copy of the package and its tests, in which faults are planted one after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("vram_widget", "tests"):
            shutil.copytree(TREE / name, root / name)
        for name in ("conftest.py", "pyproject.toml"):
            shutil.copy(TREE / name, root / name)

    def plant(self, fault: Fault) -> Outcome:
        """Run the tests of a fault with the fault in its place."""
        file = self.root / "vram_widget" / fault.file
        content = file.read_text(encoding="utf-8")
        file.write_text(content.replace(fault.text, fault.instead), encoding="utf-8")
        outcome = self.run((fault.tests, fault.matching))
        file.write_text(content, encoding="utf-8")
        return outcome

    def run(self, selection: tuple[str, str]) -> Outcome:
        """Run tests on the copy, up to the first that fails."""
        tests, matching = selection
        options = ("-x", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "-k", matching)
        environment = os.environ | {
            "PYTHONPATH": str(self.root),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # they take half of a second to import
        }
        environment.pop("CI", None)  # there a skip is a failure
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, f"tests/{tests}"],
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode == 0 and " passed" in done.stdout:
            return Outcome.PASSED
        broken = done.returncode != 1 or NO_FAULT.search(done.stdout)
        return Outcome.BROKEN if broken else Outcome.FAILED


@contextmanager
def copies(count: int) -> Iterator[Callable[..., Iterator[Outcome]]]:
    """Make so many copies; yield a `map` that runs a method of theirs, on whichever is free."""
    with TemporaryDirectory(prefix="mutants") as folder, ThreadPoolExecutor(count) as pool:
        free: SimpleQueue[Copy] = SimpleQueue()
        for number in range(count):
            free.put(Copy(Path(folder) / str(number)))

        def on_a_free_copy(method: Callable[[Copy, Any], Outcome], argument: Any) -> Outcome:
            copy = free.get()
            try:
                return method(copy, argument)
            finally:
                free.put(copy)

        def each(method: Callable[[Copy, Any], Outcome], arguments: Sequence[Any]):
            return pool.map(partial(on_a_free_copy, method), arguments)

        yield each


if __name__ == "__main__":
    raise SystemExit(main())
