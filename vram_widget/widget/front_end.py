"""What the controls say: values, good and bad, and models that have to be looked up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import traitlets

from ..errors import VRAMWidgetError
from ..model.load import known, load
from ..step.architecture import Architecture
from .live import LiveEstimate
from .lookup import Looking, Lookup
from .report import progress

#: Traits of every ipywidget that a front end may write beside the fields; no other.
SHARED = {"layout", "tabbable", "tooltip", "_dom_classes", "_view_count"}


class FrontEnd(LiveEstimate):
    """A live estimate that answers its controls: a bad value is refused in place."""

    # A dict would begin empty; it is None where nothing is looked up.
    lookup = traitlets.Any(None, read_only=True).tag(sync=True)

    # The look-up that `lookup` shows.
    _looking: Lookup[Architecture] | None = None

    def close(self) -> None:
        """Close the connection, and give up what is looked up."""
        self._stop_looking()
        super().close()

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take values from the front end and answer with a report; never raise for a bad one."""
        theirs = {name: v for name, v in sync_data.items() if name in self.fields()}
        errors = {name: why for name, v in theirs.items() if (why := self._why_not(name, v))}
        good = {name: value for name, value in theirs.items() if name not in errors}
        if "model_path" in theirs:
            self._stop_looking()
        if self._looks_up(good.get("model_path"), self._name_model, self._refuse_model):
            del good["model_path"]
        answered = self._revision
        # One message, so that no view puts the last good value over what a person has to correct.
        with self.hold_sync():
            try:
                with self._batch():
                    self._take(good)
                    self._take_shared(sync_data)
            except VRAMWidgetError as error:
                errors |= {name: str(error) for name in good if name in self.fields()}
            if errors or answered == self._revision:
                self._publish({**self.report, "errors": errors})
        if errors:
            self.send_state(list(errors))

    def _take(self, good: dict[str, Any]) -> None:
        """Take good values; first those that others follow, so that none of these is lost."""
        leading = {name: good[name] for name in ("trainer", "training_method") if name in good}
        for part in (leading, {name: v for name, v in good.items() if name not in leading}):
            super().set_state(part)

    def _take_shared(self, sync_data: dict[str, Any]) -> None:
        """Take what ipywidgets synchronises for every widget, and leave what it refuses."""
        for name in SHARED & sync_data.keys():
            with suppress(traitlets.TraitError):
                super().set_state({name: sync_data[name]})

    def _why_not(self, name: str, value: object) -> str:
        """Return why a field cannot take a value, or nothing where it can."""
        try:
            self.traits()[name]._validate(self, value)
        except VRAMWidgetError as error:
            return str(error)
        return ""

    def _name_model(self, model_path: str) -> None:
        """Take the model that was looked up."""
        self.set_state({"model_path": model_path})

    def _refuse_model(self, why: str) -> None:
        """Say at its control why there is no such model."""
        self._publish({**self.report, "errors": {"model_path": why}})
        self.send_state("model_path")

    def _looks_up(
        self,
        model_path: str | None,
        on_found: Callable[[str], None],
        on_error: Callable[[str], None],
    ) -> bool:
        """Begin to look a model up where that takes the Hub; return whether it has begun.

        At its end the model, or why there is none, goes to a function.
        """
        import asyncio

        try:
            loop = asyncio.get_running_loop()
            if model_path is None or known(model_path):
                return False
        except (RuntimeError, VRAMWidgetError):
            # No loop that could bring the answer, or a path that the estimate will speak about.
            return False

        def on_change(looking: Looking[Architecture]) -> None:
            loop.call_soon_threadsafe(partial(self._looked_up, looking, on_found, on_error))

        self._looking = Lookup(load, on_change)
        self.set_trait("lookup", progress(Looking(model_path.strip())))
        self._looking.start(model_path.strip())
        return True

    def _looked_up(
        self,
        looking: Looking[Architecture],
        on_found: Callable[[str], None],
        on_error: Callable[[str], None],
    ) -> None:
        """Show how far a look-up is, and go on at its end."""
        if self.lookup is None or self.lookup["model_path"] != looking.model_path:
            return  # sent before it was no longer wanted
        if not looking.finished:
            self.set_trait("lookup", progress(looking))
            return
        self.set_trait("lookup", None)
        if looking.error is None:
            on_found(looking.model_path)
            return
        fault = not isinstance(looking.error, VRAMWidgetError)
        on_error(f"The look-up failed: {looking.error!r}." if fault else str(looking.error))

    @traitlets.observe("model_path")
    def _stop_looking(self, _change: object = None) -> None:
        """Give up what is looked up: something else is wanted, or nothing."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
            self.set_trait("lookup", None)
