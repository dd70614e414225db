"""Replays the first training steps of one GPU and writes down every allocation."""

from __future__ import annotations

from functools import lru_cache

from . import collector
from .forward import forward
from .passes import Pass
from .record import Record, Segment
from .run import Run
from .states import load, optimizer_step
from .tape import Event

#: Bytes a second at which weights come from a disk: nominal, for the timeline only.
LOADING = 3e9


@lru_cache(maxsize=64)
def replay(run: Run) -> Record:
    """Return the record of loading the model and taking two training steps.

    Records of late are there still: moving a field of the hardware or of the price replays nothing.

    Parameters
    ----------
    run : Run
        The model, the settings, the sharding and the card's speeds.
    """
    with collector.paused():
        return _replay(run)


def one_pass(run: Run, earlier: Pass | None = None) -> Pass:
    """Return a pass of a micro-batch, whose gradients are summed with those of an earlier one."""
    step = Pass(run, earlier)
    step.loss = forward(step)
    step.backward()
    return step


def _replay(run: Run) -> Record:
    one = one_pass(run)
    body, holds_gradients = one.segments, one
    if run.settings.gradient_accumulation_steps > 1:
        another = one_pass(run, earlier=one)
        body = body + another.segments
        holds_gradients = another if run.sharding.reduces_in_last_pass else one
    weights = load(run, one.layers)
    first, later = optimizer_step(run, holds_gradients.layers)
    loading = Segment("load", weights, _moved(weights) / LOADING)
    seconds = (_moved(weights) + _moved(first)) / run.bandwidth
    return Record(
        [
            (0, [loading]),
            (1, [*body, Segment("optimizer_step", first, seconds)]),
            (2, [*body, Segment("optimizer_step", later, seconds)]),
        ]
    )


def _moved(events: list[Event]) -> int:
    """Return the bytes of everything that events take or give back."""
    return sum(abs(nbytes) * allocation.copies for nbytes, allocation in events)
