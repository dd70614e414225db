"""A trace in a process of its own: it takes up to a minute, and the notebook stays free.

The process reads what to trace from its standard input and answers with a line of JSON at each
stage: ``{"stage": "..."}``, and at last ``{"traced": {...}}`` or ``{"error": "..."}``.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from threading import Lock, Thread
from typing import IO, Any

from ..config import TrainingConfig
from ..errors import VRAMWidgetError
from ..step.timeline import Timeline
from . import PACKAGES, Trace, trace

#: The one column of a timeline that says no more than the sum.
TOTAL = "total"


@dataclass(frozen=True)
class Traced:
    """How far a trace is while it runs, and what it gave at its end.

    Attributes
    ----------
    stage : str
        What is being done; empty at the end.
    timeline : Timeline or None
        Bytes in all (one column, `TOTAL`), once the trace is there.
    error : str
        Why there is none, in one sentence.
    """

    stage: str = ""
    timeline: Timeline | None = None
    error: str = ""

    @classmethod
    def of(cls, result: Trace) -> Traced:
        """Keep of a trace what is shown of it."""
        line = result.timeline
        return cls(timeline=Timeline(line.seconds, line.step, line.phase, {TOTAL: line.total}))


class TraceProcess:
    """One trace in a process of its own.

    Parameters
    ----------
    config : TrainingConfig
        What to trace.
    model_config : mapping
        The model's config.json.
    listener : callable
        Given a `Traced` at each stage and at the end, from a thread; not after `cancel`.
    """

    def __init__(
        self,
        config: TrainingConfig,
        model_config: Mapping[str, Any],
        listener: Callable[[Traced], None],
    ) -> None:
        self._request = json.dumps({"config": config.config, "model_config": dict(model_config)})
        self._listener = listener
        self._lock = Lock()
        self._listening = True
        self._process: subprocess.Popen[str] | None = None
        self._thread = Thread(target=self._run, name="trace", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """End the process; nothing more is reported."""
        with self._lock:
            self._listening = False
            self._end()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or so many seconds."""
        self._thread.join(timeout)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _run(self) -> None:
        with self._lock:
            if not self._listening:
                return
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
            )
        atexit.register(self._end)
        try:
            self._listen(self._process)
        finally:
            atexit.unregister(self._end)

    def _listen(self, process: subprocess.Popen[str]) -> None:
        traced = Traced(error="The trace ended before it was done.")
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(self._request)
                process.stdin.close()
            except BrokenPipeError:
                pass  # it has ended already; what it left behind says why
            for line in process.stdout:
                traced = _read(json.loads(line))
                self._report(traced)
        if traced.timeline is None and process.returncode:
            ended = f"The trace ended early (exit status {process.returncode})"
            self._report(Traced(error=traced.error or f"{ended}: is there memory enough for it?"))

    def _report(self, traced: Traced) -> None:
        with self._lock:
            if self._listening:
                self._listener(traced)


def _read(line: dict[str, Any]) -> Traced:
    if "traced" in line:
        return Traced(timeline=Timeline(**line["traced"]))
    return Traced(stage=line.get("stage", ""), error=line.get("error", ""))


def main() -> None:
    """Trace what the standard input asks for."""
    with _answers() as answers:

        def answer(**line: object) -> None:
            print(json.dumps(line), file=answers, flush=True)

        request = json.load(sys.stdin)
        try:
            answer(stage="Importing PyTorch")
            for package in PACKAGES:
                import_module(package)
            answer(stage="Running two training steps")
            traced = Traced.of(trace(TrainingConfig(**request["config"]), request["model_config"]))
        except VRAMWidgetError as error:
            answer(error=str(error))
        except Exception as error:  # of PyTorch or transformers: the widget says which
            answer(error=f"PyTorch cannot run this step: {error!r}.")
        else:
            assert traced.timeline is not None
            answer(traced=vars(traced.timeline))


@contextmanager
def _answers() -> Iterator[IO[str]]:
    """Keep the standard output for answers: what libraries print goes where errors go."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        yield answers


if __name__ == "__main__":
    main()
