"""A configuration with its estimate: after every change exactly one, or the change is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anywidget
import traitlets

from ..config import TrainingConfig
from ..errors import VRAMWidgetError
from ..estimate.estimate import MemoryEstimate
from ..estimate.estimate import estimate as estimate_memory
from .report import report


class LiveEstimate(anywidget.AnyWidget, TrainingConfig):
    """The fields of a configuration as synced traits, and the report on its estimate."""

    report = traitlets.Dict(read_only=True).tag(sync=True)

    # How many batches of changes are open, and whether a field has changed since the estimate.
    _open_batches = 0
    _stale = True
    _revision = 0

    def __init__(self, **choices: Any) -> None:
        with self._batch():
            super().__init__(**choices)

    def open(self) -> None:
        """Open the connection to the front end, with a first report to show."""
        self._estimate_again()
        super().open()

    @property
    def estimate(self) -> MemoryEstimate:
        """The estimate that is shown, for exactly `config`."""
        if self._stale:  # an observer of a field asks, before the change is settled
            with suppress(VRAMWidgetError):  # settling raises it, and goes back to the last
                return estimate_memory(self.replace())
        return self._estimate

    @contextmanager
    def _batch(self) -> Iterator[None]:
        """Gather changes: one estimate and one message to the front end at the end."""
        self._open_batches += 1
        try:
            with self.hold_sync():
                yield
                if self._open_batches == 1 and self._stale:
                    self._settle()
        finally:
            self._open_batches -= 1

    @contextmanager
    def hold_trait_notifications(self) -> Iterator[None]:
        """Gather changes made within; the estimate follows once, at the end."""
        with self._batch(), super().hold_trait_notifications():
            yield

    def notify_change(self, change: Any) -> None:
        """Tell the front end and observers of a change, then bring the estimate up to date."""
        if change["name"] in self.fields():
            self._stale = True
            with self._batch():
                super().notify_change(change)
        else:
            super().notify_change(change)

    def _settle(self) -> None:
        """Estimate again, or where that cannot be, go back to the last values it could be for."""
        try:
            self._estimate_again()
        except VRAMWidgetError:
            self._become(self._estimate.config)
            self._stale = False
            raise

    def _estimate_again(self) -> None:
        self._estimate = estimate_memory(self.replace())
        self._stale = False
        self._settled()

    def _settled(self) -> None:
        """Show the estimate that was just made."""
        self._publish(report(self._estimate))

    def _become(self, config: TrainingConfig) -> None:
        """Take every choice of another configuration; what it left to the trainer stays so."""
        with self._batch():
            for name, value in config.config.items():
                setattr(self, name, value)
            self._chosen = dict(config._chosen)

    def _publish(self, shown: dict[str, Any]) -> None:
        self._revision += 1
        self.set_trait("report", {**shown, "revision": self._revision})
