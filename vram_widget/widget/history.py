"""The configurations a person went through, to go back to and forward again."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..config import TrainingConfig

#: Changes of one field that follow each other within so many seconds are one: a slider's drag.
DRAG = 1.0
#: As many as anyone would go back.
MOST = 100

#: Where one of these changes, other fields follow it.
_LEADING = ("model_path", "training_method", "trainer")


class History:
    """A line of configurations, and the place on it where one is.

    Parameters
    ----------
    clock : callable
        The time in seconds.

    Examples
    --------
    >>> history = History()
    >>> for size in (1, 4):
    ...     history.take(TrainingConfig(micro_batch_size=size))
    >>> history.labels
    {'undo': 'Micro-batch', 'redo': None}
    >>> history.go(-1).micro_batch_size, history.labels
    (1, {'undo': None, 'redo': 'Micro-batch'})
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._configs: list[TrainingConfig] = []
        self._at = -1
        # The field of the last change and its time, where the next may still belong to it.
        self._drag: tuple[str, float] | None = None

    def take(self, config: TrainingConfig) -> None:
        """Go on to a configuration; what was undone before is no longer there to redo."""
        if not self._configs:
            self._configs, self._at = [config], 0
            return
        changed = _changed(self._configs[self._at], config)
        if not changed:
            self._configs[self._at] = config  # the same values, perhaps chosen by someone else
            return
        field = changed[0] if len(changed) == 1 else ""
        if not self._goes_on(field):
            self._at += 1
        self._configs[self._at :] = [config]
        if self._at and not _changed(self._configs[self._at - 1], config):
            self.go(-1)  # dragged back to where it began
            self._configs.pop()
        else:
            self._drag = (field, self._clock())
        del self._configs[:-MOST]
        self._at = min(self._at, MOST - 1)

    def _goes_on(self, field: str) -> bool:
        """Whether a change of one field belongs to the change before it."""
        if not field or self._drag is None:
            return False
        last, at = self._drag
        return field == last and self._clock() - at < DRAG

    def pause(self) -> None:
        """Let the next change be one of its own, however soon it follows."""
        self._drag = None

    def go(self, by: int) -> TrainingConfig | None:
        """Go back (-1) or forward (1); return the configuration there, or None at an end."""
        if not 0 <= self._at + by < len(self._configs):
            return None
        self.pause()
        self._at += by
        return self._configs[self._at]

    @property
    def labels(self) -> dict[str, str | None]:
        """What would be undone and redone, in JSON types (``History`` in messages.ts)."""
        return {"undo": self._step(self._at - 1), "redo": self._step(self._at)}

    def _step(self, first: int) -> str | None:
        """Return the name of the change after a configuration, if there is one."""
        if not 0 <= first < len(self._configs) - 1:
            return None
        changed = _changed(self._configs[first], self._configs[first + 1])
        fields = TrainingConfig.fields()
        leading = [name for name in _LEADING if name in changed] or changed
        labels = [fields[name].metadata["label"] for name in leading]
        return " and ".join(labels) if len(labels) < 3 else f"{len(changed)} settings"


def _changed(one: TrainingConfig, other: TrainingConfig) -> list[str]:
    """Return the names of the fields whose values differ."""
    theirs = other.config
    return [name for name, value in one.config.items() if value != theirs[name]]
