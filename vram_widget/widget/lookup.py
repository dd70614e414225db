"""A look-up that runs beside the notebook: progress by file, cancelled at will, the last wins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import RLock, Thread
from typing import Generic, Protocol, TypeVar

Found = TypeVar("Found", covariant=True)


class Read(Protocol[Found]):
    """Reads a model by its path, as `hub.read` does."""

    def __call__(
        self,
        model_path: str,
        *,
        progress: Callable[[int, int, str], None],
        cancelled: Callable[[], bool],
    ) -> Found:
        """Return the model, or raise; give up where `cancelled` says so."""
        ...


@dataclass(frozen=True)
class Looking(Generic[Found]):
    """How far a look-up is.

    Attributes
    ----------
    model_path : str
        What is looked up.
    done, total : int
        Files read, and files in all as far as is known.
    file : str
        The file just read.
    found : object or None
        The answer, once it is there.
    error : Exception or None
        Why there is no answer. Anything but a ModelError is a fault of this package.
    """

    model_path: str
    done: int = 0
    total: int = 0
    file: str = ""
    found: Found | None = None
    error: Exception | None = None

    @property
    def finished(self) -> bool:
        """Whether there is an answer, or there will be none."""
        return self.found is not None or self.error is not None


class Lookup(Generic[Found]):
    """Runs one look-up at a time in a thread, and reports it to a callback.

    Once `start` or `cancel` has returned, nothing more is reported of an earlier look-up: whatever
    it still finds is dropped.

    Parameters
    ----------
    read : callable
        Reads a model, with ``progress`` and ``cancelled``; `hub.read`, for one.
    on_change : callable
        Called with a `Looking`, from the look-up's thread: at each file, and at the end. It should
        return soon; `start` and `cancel` wait for it.

    Examples
    --------
    >>> def read(model_path, progress, cancelled):
    ...     progress(1, 1, "config.json")
    ...     return model_path.upper()
    >>> seen = []
    >>> lookup = Lookup(read, seen.append)
    >>> lookup.start("a/b")
    >>> lookup.wait()
    >>> [looking.found for looking in seen]
    [None, 'A/B']
    """

    def __init__(self, read: Read[Found], on_change: Callable[[Looking[Found]], None]) -> None:
        self._read, self._on_change = read, on_change
        self._wanted = 0
        self._thread: Thread | None = None
        self._lock = RLock()

    def start(self, model_path: str) -> None:
        """Look `model_path` up; whatever was looked up before is no longer wanted."""
        with self._lock:
            self._wanted += 1
            arguments = (model_path, self._wanted)
            self._thread = Thread(target=self._run, args=arguments, name="lookup", daemon=True)
            self._thread.start()

    def cancel(self) -> None:
        """Give up what is being looked up."""
        with self._lock:
            self._wanted += 1

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the last look-up ended, or so many seconds."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self, model_path: str, ticket: int) -> None:
        looking: Looking[Found] = Looking(model_path)

        def progress(done: int, total: int, file: str) -> None:
            nonlocal looking
            looking = replace(looking, done=done, total=total, file=file)
            self._report(ticket, looking)

        def cancelled() -> bool:
            return ticket != self._wanted

        try:
            found = self._read(model_path, progress=progress, cancelled=cancelled)
        except Exception as error:  # a thread's traceback would be lost; the callback shows it
            self._report(ticket, replace(looking, error=error))
        else:
            self._report(ticket, replace(looking, found=found))

    def _report(self, ticket: int, looking: Looking[Found]) -> None:
        with self._lock:
            if ticket == self._wanted:
                self._on_change(looking)
